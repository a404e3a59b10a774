// The manifest of deploy/kubernetes, pod by pod, in containers: users, read-only file systems, limits, configs, secrets,
// probes and the end of a pod are those that it says. What a cluster adds is not here: scheduling, the service in front,
// and names that leave the DNS when a pod ends, so ends are harder on requests here than there.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { clientOf, cookiesOf, eventually, root, run } from './stage.mjs';

const { STAGE_DOCKER: docker, STAGE_PROJECT: project, STAGE_FOLDER: folder, KUBERNETES_JSON: manifestFile } = process.env;
const images = { lintel: 'lintel', 'lintel-demo': 'lintel-demo', 'redis:7-alpine': process.env.REDIS_IMAGE };
const network = `${project}-pods`;
const manifests = JSON.parse(readFileSync(manifestFile, 'utf8'));
const podOf = (name) => manifests.find((one) => one.kind === 'Deployment' && one.metadata.name === name).spec.template.spec;
const ask = (...args) => run(docker, args).trim();
const pods = [];

// What the volumes of a pod hold. The configs' names are those of kustomization.yaml.
const files = path.join(folder, 'pods');
const held = {
  'lintel-front': { 'lintel.yaml': path.join(root, 'deploy/kubernetes/config/front.yaml') },
  'lintel-demo': { 'lintel.yaml': path.join(root, 'deploy/kubernetes/config/demo.yaml') },
  'lintel-tls': { 'tls.crt': path.join(root, 'certs-dev/localhost.crt'), 'tls.key': path.join(root, 'certs-dev/localhost.key') },
  'lintel-sticky': { 'sticky.key': Buffer.from('a key of at least sixteen bytes, for tests') },
};

// A volume as a folder of this machine. Kubernetes gives it to the pod's group, so it is laid out for anyone here.
function folderOf(source) {
  const name = source.configMap?.name ?? source.secret.secretName;
  const own = path.join(files, name);
  mkdirSync(own, { recursive: true });
  for (const [file, from] of Object.entries(held[name])) {
    writeFileSync(path.join(own, file), Buffer.isBuffer(from) ? from : readFileSync(from), { mode: 0o644 });
  }
  return own;
}

function begin(deployment, number) {
  const pod = podOf(deployment);
  const [container] = pod.containers;
  const security = { ...pod.securityContext, ...container.securityContext };
  const args = ['run', '--detach', '--name', `${project}-${deployment}-${number}`, '--network', network, '--network-alias', deployment];
  args.push('--user', `${security.runAsUser}:${security.runAsGroup}`);
  if (security.readOnlyRootFilesystem) args.push('--read-only');
  for (const capability of security.capabilities.drop) args.push('--cap-drop', capability);
  if (security.allowPrivilegeEscalation === false) args.push('--security-opt', 'no-new-privileges');
  for (const { name, value } of security.sysctls ?? []) args.push('--sysctl', `${name}=${value}`);
  const { cpu, memory } = container.resources.limits;
  if (cpu) args.push('--cpus', cpu);
  args.push('--memory', memory.replace('Mi', 'm'));
  for (const { name, mountPath, readOnly } of container.volumeMounts ?? []) {
    const source = pod.volumes.find((volume) => volume.name === name);
    if (source.emptyDir) args.push('--tmpfs', `${mountPath}:uid=${security.runAsUser},gid=${security.runAsGroup}`);
    else args.push('--volume', `${folderOf(source)}:${mountPath}${readOnly ? ':ro' : ''}`);
  }
  const id = ask(...args, images[container.image], ...container.args);
  const one = { deployment, id, container, pod };
  [one.address] = Object.values(JSON.parse(ask('inspect', id))[0].NetworkSettings.Networks).map(({ IPAddress }) => IPAddress);
  pods.push(one);
  return one;
}

async function probe({ address, container }, kind) {
  const { httpGet } = container[`${kind}Probe`];
  const port = container.ports.find(({ name }) => name === httpGet.port).containerPort;
  return (await fetch(`http://${address}:${port}${httpGet.path}`, { signal: AbortSignal.timeout(2000) })).ok;
}

const ready = (pod) => eventually(`a pod of ${pod.deployment} to be ready`, () => probe(pod, 'readiness')).catch((error) => {
  console.error(run(docker, ['logs', '--tail', '20', pod.id]));
  throw error;
});

// What the kubelet does: preStop, SIGTERM, and no more patience than the pod asks for.
async function end(pod) {
  await new Promise((resolve) => setTimeout(resolve, pod.container.lifecycle.preStop.sleep.seconds * 1000));
  const began = performance.now();
  ask('kill', '--signal', 'TERM', pod.id);
  const grace = pod.pod.terminationGracePeriodSeconds - pod.container.lifecycle.preStop.sleep.seconds;
  const { ExitCode: code } = await eventually('the pod to end', () => {
    const { State: state } = JSON.parse(ask('inspect', pod.id))[0];
    return state.Running ? null : state;
  }, grace * 1000);
  return { code, seconds: (performance.now() - began) / 1000 };
}

const stageOf = (pod) => ({ front: `https://${pod.address}`, ca: path.join(root, 'certs-dev/ca.crt') });
// A pod's address is in no certificate; clients know the service by a name that is.
const throughPod = (pod) => clientOf({ ...stageOf(pod), servername: 'app.example.com' });

describe('the pods of deploy/kubernetes', () => {
  let fronts;
  let demos;

  before(async () => {
    ask('network', 'create', network);
    run('scripts/certs-dev', []);
    begin('redis', 1);
    demos = [1, 2, 3].map((number) => begin('demo', number));
    await Promise.all(demos.map(ready));
    fronts = [1, 2].map((number) => begin('lintel', number));
    await Promise.all(fronts.map(ready));
  });
  after(() => {
    for (const { id } of pods) ask('rm', '--force', id);
    ask('network', 'rm', network);
  });

  test('they are ready and alive, and run as many workers as they may use CPUs', async () => {
    for (const pod of [...fronts, ...demos]) assert.ok(await probe(pod, 'liveness'));
    const { pools } = JSON.parse(ask('exec', demos[0].id, 'lintel', 'status', '-c', '/etc/lintel/config/lintel.yaml', '--json'));
    const limit = Number(demos[0].container.resources.limits.cpu);
    const cores = Number(ask('exec', demos[0].id, 'nproc'));
    assert.equal(pools.find(({ name }) => name === 'web').app.workers.length, Math.min(limit, cores));
  });

  test('the cookie of one front door is good at the other', async () => {
    const [one, other] = fronts.map(throughPod);
    const cookie = cookiesOf(await one.ask('/socket.io/?EIO=4&transport=polling')).lintel_server;
    const server = async (client, headers) => {
      const answer = await client.ask('/socket.io/?EIO=4&transport=polling', { headers });
      return cookiesOf(answer).lintel_server ?? headers.cookie.split('=')[1];
    };
    for (let number = 0; number < 10; number += 1) {
      assert.equal(await server(other, { cookie: `lintel_server=${cookie}` }), cookie);
    }
    for (const client of [one, other]) client.agent.destroy();
  });

  test('a rollout of servers and of front doors costs no request', async () => {
    const load = startLoad(fronts[0], 45);
    const fresh = begin('demo', 4);
    await ready(fresh);
    assert.equal((await end(demos[0])).code, 0);
    const front = begin('lintel', 3);
    await ready(front);
    const ended = await end(fronts[1]);
    assert.equal(ended.code, 0);
    const report = await load;
    assert.equal(report.failed, 0, JSON.stringify(report));
  });

  test('a front door that ends answers what it has, within its grace period', async () => {
    const { ask: request, agent } = throughPod(fronts[0]);
    const slow = request('/slow?ms=8000');
    const ended = end(fronts[0]);
    assert.equal((await slow).status, 200);
    assert.equal((await ended).code, 0);
    agent.destroy();
  });
});

async function startLoad(pod, seconds) {
  const child = spawn(process.execPath, [
    'scripts/load.mjs', '--json', '--url', stageOf(pod).front, '--seconds', `${seconds}`, '--rate', '30', '--sockets', '0',
  ], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  return JSON.parse(Buffer.concat(await child.stdout.toArray()).toString());
}
