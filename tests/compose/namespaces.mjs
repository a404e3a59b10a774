// The composition of docker-compose.yml as processes in network namespaces, for machines without a Docker engine: the
// same two config files, the same names, a network of its own. scripts/compose-test has made the namespaces and ends
// whatever runs in them.
//
// What containers add is not tried here: images, users, limits, restarts by Docker.

import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { eventually, root, run } from './stage.mjs';

const { STAGE_PREFIX: prefix, STAGE_FOLDER: folder, STAGE_LINTEL: lintel, STAGE_PROMETHEUS: prometheus } = process.env;
const conf = { lintel: 'conf/compose.yaml' };
const addresses = { lintel: '10.77.0.10', node1: '10.77.0.11', node2: '10.77.0.12', node3: '10.77.0.13', node4: '10.77.0.14' };

const processes = new Map(); // machine -> its child

const inside = (machine) => ['netns', 'exec', `${prefix}${machine}`];

function begin(machine, command, args, { env = {}, argv0 = '' } = {}) {
  const log = openSync(path.join(folder, `${machine}.log`), 'a');
  const program = argv0 ? ['bash', '-c', `exec -a ${argv0} "$@"`, argv0, command] : [command];
  const child = spawn('ip', [...inside(machine), ...program, ...args], {
    cwd: root, stdio: ['ignore', log, log], env: { PATH: process.env.PATH, HOME: folder, LANG: 'C.UTF-8', ...env },
  });
  child.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  processes.set(machine, child);
  return child;
}

function directories(machine) {
  const own = path.join(folder, machine);
  mkdirSync(own, { recursive: true });
  return { STATE_DIRECTORY: own, RUNTIME_DIRECTORY: own };
}

function beginMachine(machine) {
  const config = conf[machine] ?? 'conf/compose-node.yaml';
  const env = { ...directories(machine), DEMO_SERVER: machine.replace(/\D/g, '') };
  return begin(machine, lintel, ['run', '-c', config], { env });
}

const wire = (machine, state) => run('ip', ['-n', `${prefix}${machine}`, 'link', 'set', 'eth0', state]);

export async function open() {
  // Debian's package of the tools has the server too, and starts none.
  begin('redis', existsSync('/usr/bin/redis-server') ? '/usr/bin/redis-server' : '/usr/bin/redis-check-rdb',
    ['--bind', '0.0.0.0', '--protected-mode', 'no', '--save', '', '--appendonly', 'no', '--dir', folder], { argv0: 'redis-server' });
  for (const machine of ['node1', 'node2', 'node3']) beginMachine(machine);
  for (const machine of ['node1', 'node2', 'node3']) await ready(machine);
  beginMachine('lintel');
  await ready('lintel');
  if (prometheus) await beginPrometheus();

  return {
    name: 'namespaces',
    front: 'https://app.example.com:8443',
    plain: 'http://app.example.com:8080',
    ca: path.join(root, 'certs-dev/ca.crt'),
    prometheus: prometheus ? 'http://prometheus:9090' : null,
    servers: ['node1', 'node2', 'node3'],
    status,
    // All at once, and the network with it, as `docker kill` does.
    async kill(machine) {
      for (const pid of run('ip', ['netns', 'pids', `${prefix}${machine}`]).split('\n').filter(Boolean)) {
        try { process.kill(Number(pid), 'SIGKILL'); } catch { /* it was quicker */ }
      }
      await processes.get(machine).ended;
      wire(machine, 'down');
    },
    async start(machine) {
      wire(machine, 'up');
      rmSync(path.join(folder, machine), { recursive: true, force: true });
      beginMachine(machine);
      await ready(machine);
    },
    async stop(machine) {
      const child = processes.get(machine);
      child.kill('SIGTERM');
      return child.ended;
    },
    async killWorker(machine, pid) {
      process.kill(pid, 'SIGKILL'); // processes of all namespaces have their ids here
    },
    // A second address of node3, as `--scale node3=2` gives.
    async scaleUp() {
      for (const host of ['lintel', 'client']) appendFileSync(`/etc/netns/${prefix}${host}/hosts`, `${addresses.node4} node3\n`);
      beginMachine('node4');
      await ready('node4');
      return addresses.node4;
    },
    async scaleDown() {
      await this.stop('node4');
    },
    close() {
      for (const child of processes.values()) child.kill('SIGTERM');
      return Promise.all([...processes.values()].map((child) => child.ended));
    },
  };
}

function status(machine) {
  const config = conf[machine] ?? 'conf/compose-node.yaml';
  const answer = spawnSync(lintel, ['status', '-c', config, '--json'], {
    cwd: root, encoding: 'utf8', env: { ...process.env, ...directories(machine) },
  });
  return answer.status === 0 ? JSON.parse(answer.stdout) : null;
}

async function ready(machine) {
  await eventually(`${machine} to be ready`, async () => {
    const child = processes.get(machine);
    if (child.exitCode !== null) throw new Error(`${machine} ended with ${child.exitCode}; see ${folder}/${machine}.log`);
    const answer = await fetch(`http://${addresses[machine]}:9901/readyz`, { signal: AbortSignal.timeout(1000) });
    const workers = status(machine)?.pools.flatMap(({ app }) => app?.workers ?? []) ?? [];
    return answer.status === 200 && workers.every(({ state }) => state === 'ready');
  });
}

// Prometheus' own discovery asks a DNS server, and there is none here; what is scraped and how is the same.
async function beginPrometheus() {
  const target = (machine, tier) => ({ targets: [`${addresses[machine]}:9901`], labels: { machine, tier } });
  const config = {
    global: { scrape_interval: '1s', evaluation_interval: '1s' },
    rule_files: [path.join(root, 'deploy/alerts.yml')],
    scrape_configs: [{
      job_name: 'lintel',
      static_configs: [target('lintel', 'front'), ...['node1', 'node2', 'node3'].map((machine) => target(machine, 'server'))],
    }],
  };
  const file = path.join(folder, 'prometheus.yml');
  writeFileSync(file, JSON.stringify(config)); // which is YAML too
  begin('prometheus', prometheus, [`--config.file=${file}`, `--storage.tsdb.path=${folder}/prometheus`]);
  await eventually('Prometheus to be ready', async () => (await fetch('http://prometheus:9090/-/ready')).status === 200);
}
