// The composition of docker-compose.yml in containers, by the Docker engine that scripts/compose-test found or started.

import { spawnSync } from 'node:child_process';
import path from 'node:path';

import { eventually, run } from './stage.mjs';

const { STAGE_PROJECT: project, STAGE_FOLDER: folder, STAGE_DOCKER: docker, STAGE_GRAFANA: grafana } = process.env;

// Ports that nobody else on this machine is likely to have.
const ports = { HTTP_PORT: '28080', HTTPS_PORT: '28443', PROMETHEUS_PORT: '29090', GRAFANA_PORT: '23001' };
const env = { ...process.env, ...ports };

const hasPlugin = spawnSync('docker', ['compose', 'version']).status === 0;
const compose = (...args) => (hasPlugin
  ? run('docker', ['compose', '--project-name', project, ...args], { env })
  : run('docker-compose', ['--project-name', project, ...args], { env }));
const ask = (...args) => run(docker, args, { env });

const containerOf = (service) => compose('ps', '-q', service).trim().split('\n')[0];
const healthOf = (id) => JSON.parse(ask('inspect', id))[0].State.Health?.Status;
const addressOf = (id) => Object.values(JSON.parse(ask('inspect', id))[0].NetworkSettings.Networks)[0].IPAddress;

export async function open() {
  const services = ['lintel', 'prometheus', ...(grafana ? ['grafana'] : [])];
  compose('up', '-d', '--no-build', ...services);
  await healthy(containerOf('lintel'));
  const ca = path.join(folder, 'ca.crt');
  ask('cp', `${containerOf('lintel')}:/etc/certs-dev/ca.crt`, ca);

  return {
    name: 'containers',
    front: `https://localhost:${ports.HTTPS_PORT}`,
    plain: `http://localhost:${ports.HTTP_PORT}`,
    ca,
    prometheus: `http://localhost:${ports.PROMETHEUS_PORT}`,
    servers: ['node1', 'node2', 'node3'],
    status: (service) => JSON.parse(ask('exec', containerOf(service), 'lintel', 'status', '--json')),
    async kill(service) {
      ask('kill', containerOf(service));
    },
    async start(service) {
      compose('start', service);
      await healthy(containerOf(service));
    },
    async stop(service) {
      const id = containerOf(service);
      ask('kill', '--signal', 'TERM', id);
      const code = Number(await waitFor(id));
      return { code, signal: null };
    },
    async scaleUp() {
      compose('up', '-d', '--no-build', '--no-recreate', '--scale', 'node3=2', 'node3');
      const ids = compose('ps', '-q', 'node3').trim().split('\n');
      for (const id of ids) await healthy(id);
      return addressOf(ids.find((id) => id !== ids[0] && JSON.parse(ask('inspect', id))[0].Name.match(/2$/)) ?? ids[1]);
    },
    async scaleDown() {
      compose('up', '-d', '--no-build', '--no-recreate', '--scale', 'node3=1', 'node3');
    },
    async killWorker(service, pid) {
      ask('exec', containerOf(service), 'node', '-e', `process.kill(${pid}, 'SIGKILL')`);
    },
    // What only containers can show.
    containers: {
      inspect: (service) => JSON.parse(ask('inspect', containerOf(service)))[0],
      // Names and states of the processes in a container, by the engine's own ps.
      processes: (service) => ask('top', containerOf(service), '-eo', 'pid,ppid,user,stat,args').trim().split('\n').slice(1),
      exec: (service, ...args) => ask('exec', containerOf(service), ...args),
    },
    async close() {
      compose('down', '--volumes', '--timeout', '20');
    },
  };
}

const healthy = (id) => eventually(`container ${id.slice(0, 12)} to be healthy`, () => healthOf(id) === 'healthy');

function waitFor(id) {
  return eventually('the container to end', () => {
    const { Running, ExitCode } = JSON.parse(ask('inspect', id))[0].State;
    return Running ? false : String(ExitCode);
  });
}
