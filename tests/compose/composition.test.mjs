// The composition of docker-compose.yml at work: every service through the front door, a server that dies under load, one
// that comes back, one more of them, and the end. scripts/compose-test sets the stage: containers, or namespaces.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';

import { panelQueries } from './board.mjs';
import { clientOf, cookiesOf, eventually, root } from './stage.mjs';

const demo = createRequire(path.join(root, 'demo/package.json'));
const { io } = demo('socket.io-client');
const { WebSocket } = demo('ws');

const { open } = await import(`./${process.env.STAGE}.mjs`);

let stage;
let ask;
let agent;
let ca;

before(async () => {
  stage = await open();
  ({ ask, agent, ca } = clientOf(stage));
  await eventually('three servers in service', () => allUp(3));
});
after(async () => {
  agent?.destroy();
  await stage?.close();
});

const times = (count, action) => Promise.all(Array.from({ length: count }, (_, number) => action(number)));

// `11` is worker 1 of server 1.
const serverOf = (index) => Math.floor(index / 10);
const inService = (pool) => stage.status('lintel').pools.find(({ name }) => name === pool).servers;
const allUp = (count) => inService('api').filter(({ state }) => state === 'up').length === count;
const up = (server) => inService('api').some(({ name, state }) => name.startsWith(server) && state === 'up');

describe(`the composition in ${process.env.STAGE}`, () => {
  test('the front door redirects to HTTPS and shows the page', async () => {
    const plain = await fetch(new URL('/a?b=c', stage.plain), { redirect: 'manual' });
    assert.equal(plain.status, 308);
    assert.match(plain.headers.get('location'), /^https:\/\/[^/]+\/a\?b=c$/);
    const page = await ask('/');
    assert.equal(page.status, 200);
    assert.match(page.text, /<title>/);
    assert.equal((await ask('/metrics')).status, 404, 'what servers say about themselves stays inside');
  });

  test('every worker of every server answers', async () => {
    const seen = new Set();
    await eventually('all servers and workers to have answered', async () => {
      for (const answer of await times(20, () => ask('/whoami'))) seen.add(answer.json().index);
      const servers = new Set([...seen].map(serverOf));
      const workers = stage.status('node1').pools.find(({ name }) => name === 'web').app.workers.length;
      return servers.size === 3 && seen.size === 3 * workers;
    });
  });

  test('the static page goes to the servers in turn', async () => {
    const answers = [];
    for (let number = 0; number < 12; number += 1) answers.push(await ask('/page.css'));
    const servers = answers.map(({ headers }) => serverOf(Number(headers['x-demo-server'])));
    for (const server of [1, 2, 3]) assert.equal(servers.filter((one) => one === server).length, 4, `${servers}`);
  });

  test('what the client is passes both tiers', async () => {
    const { protocol, requestId, headers } = (await ask('/whoami')).json();
    assert.equal(protocol, 'https');
    assert.ok(requestId);
    assert.equal(headers.via.split(',').length, 2, headers.via);
  });

  test('a session goes on at any server, and each tier has a cookie of its own', async () => {
    const first = await ask('/session');
    const cookies = cookiesOf(first);
    assert.deepEqual(Object.keys(cookies).sort(), ['demo.sid', 'lintel_server', 'lintel_worker']);
    assert.equal(first.json().store, 'redis');

    const all = Object.entries(cookies).map(([name, value]) => `${name}=${value}`).join('; ');
    for (let visits = 2; visits <= 6; visits += 1) {
      const answer = await ask('/session', { headers: { cookie: all } });
      assert.deepEqual([answer.json().visits, answer.json().index], [visits, first.json().index], 'it stays where it is');
    }
    const others = new Set();
    for (let visits = 7; visits <= 30; visits += 1) {
      const answer = await ask('/session', { headers: { cookie: `demo.sid=${cookies['demo.sid']}` } });
      assert.equal(answer.json().visits, visits);
      others.add(serverOf(answer.json().index));
    }
    assert.equal(others.size, 3, 'without the cookies of Lintel any server answers, out of Redis');
  });

  test('Socket.IO clients without cookies are upgraded, and hear each other over all servers', async () => {
    const clients = await times(12, (number) => connect(number));
    const servers = new Set(clients.map(({ index }) => serverOf(index)));
    assert.equal(servers.size, 3, 'they are spread over all servers');
    const heard = clients.map(({ socket }) => new Promise((resolve) => {
      socket.on('message', ({ text }) => text === 'is everybody here?' && resolve());
    }));
    clients[0].socket.emit('say', 'is everybody here?');
    await Promise.all(heard);
    for (const { socket } of clients) socket.close();
  });

  test('a room of WebSockets meets in one worker, and rooms are spread', async () => {
    const rooms = [];
    // One after the other: a server that has far more than its share at once would pass a room on.
    for (let number = 0; number < 12; number += 1) {
      const hellos = await times(3, () => hello(`room-${number}`));
      assert.equal(new Set(hellos.map(({ index, pid }) => `${index} ${pid}`)).size, 1, JSON.stringify(hellos));
      rooms.push(serverOf(hellos[0].index));
    }
    assert.equal(new Set(rooms).size, 3, `${rooms}`);
  });

  test('work in threads and bodies both ways pass both tiers', async () => {
    assert.equal((await ask('/cpu?ms=10')).status, 200);
    const body = 'x'.repeat(300_000);
    assert.equal((await ask('/echo', { method: 'POST', body })).text, body);
    assert.equal((await ask('/bytes?n=1000000&chunked')).text.length > 0, true);
  });

  test('a server that dies under load costs no request', async () => {
    const load = startLoad({ seconds: 12, rate: 40, sockets: 6 });
    await load.underWay();
    await stage.kill('node2');
    await eventually('node2 to be out of service', () => !up('node2:'));
    const report = await load.report;
    assert.equal(report.failed, 0, JSON.stringify(report));
    assert.ok(report.requests > 400, JSON.stringify(report));
    assert.ok(report.sockets.socketIo === 6 && report.sockets.webSockets === 6, `sockets are back: ${JSON.stringify(report)}`);
  });

  test('it comes back into service', async () => {
    await stage.start('node2');
    await eventually('three servers in service', () => allUp(3));
    await eventually('node2 to answer', async () => serverOf((await ask('/whoami')).json().index) === 2);
  });

  test('one more server gets its share, without a word in the config', async () => {
    const address = await stage.scaleUp();
    await eventually('four servers in service', () => allUp(4));
    await eventually('the new one to have answered', async () => {
      await times(10, () => ask('/whoami'));
      const added = inService('api').find((server) => server.address.startsWith(address));
      return added?.requests > 0;
    });
    await stage.scaleDown();
    await eventually('three servers in service', () => allUp(3));
  });

  test('containers have what they need and no more, and leave no zombies', async (t) => {
    if (!stage.containers) return t.skip('needs containers');
    const { inspect, processes, exec } = stage.containers;
    for (const [service, user] of [['lintel', '10001:10001'], ['node1', 'node']]) {
      const { Config: image, HostConfig: host, State: state } = inspect(service);
      assert.deepEqual([image.User, host.CapDrop, state.Health.Status], [user, ['ALL'], 'healthy'], service);
      // Process 1 is Lintel, so it inherits what others leave behind.
      exec(service, 'sh', '-c', '(sleep 0.2 &)');
      await eventually(`${service} to reap`, () => !processes(service).some((line) => /sleep|defunct| Z/.test(line)));
    }
    assert.equal(inspect('lintel').HostConfig.ReadonlyRootfs, true);
    return undefined;
  });

  test('a worker that dies is started anew, and no request is lost', async () => {
    const workers = () => stage.status('node1').pools.find(({ name }) => name === 'web').app.workers;
    const [{ pid }] = workers();
    const load = startLoad({ seconds: 8, rate: 20, sockets: 2 });
    await load.underWay();
    await stage.killWorker('node1', pid);
    const report = await load.report;
    assert.equal(report.failed, 0, JSON.stringify(report));
    await eventually('two workers to be ready', () => workers().every((worker) => worker.state === 'ready' && worker.pid !== pid));
  });

  test('Prometheus sees every Lintel, and every panel of the board asks for something that is there', async (t) => {
    if (!stage.prometheus) return t.skip('no Prometheus here');
    const query = async (expr) => {
      const url = new URL('/api/v1/query', stage.prometheus);
      url.searchParams.set('query', expr);
      const answer = await (await fetch(url)).json();
      assert.equal(answer.status, 'success', `${expr}: ${answer.error}`);
      return answer.data.result;
    };
    await eventually('four targets up', async () => (await query('up{job="lintel"} == 1')).length === 4);
    // What only a failure brings may be empty here.
    const empty = [];
    for (const { title, expr } of panelQueries()) {
      const found = await query(expr.replaceAll('$__rate_interval', '1m').replaceAll('$tier', 'front').replaceAll('$route', '.*'));
      if (found.length === 0 && !/> 0$|status=~"5/.test(expr)) empty.push(`${title}: ${expr}`);
    }
    assert.deepEqual(empty, []);
    const alerts = (await (await fetch(new URL('/api/v1/rules', stage.prometheus))).json()).data.groups.flatMap(({ rules }) => rules);
    assert.ok(alerts.length >= 10 && alerts.every(({ health }) => health === 'ok'), JSON.stringify(alerts.filter(({ health }) => health !== 'ok')));
  });

  test('the front door ends in order: what runs is answered, then it exits with 0', async () => {
    const slow = ask('/slow?ms=5000');
    await eventually('the request to be with a server', () => inService('api').some(({ in_flight }) => in_flight > 0));
    const ended = stage.stop('lintel');
    assert.equal((await slow).status, 200);
    assert.deepEqual(await ended, { code: 0, signal: null });
  });
});

function connect(number) {
  return new Promise((resolve, reject) => {
    const socket = io(stage.front, { ca, forceNew: true, reconnection: false, auth: { name: `guest-${number}` } });
    let index;
    const settle = () => index !== undefined && socket.io.engine.transport.name === 'websocket' && resolve({ socket, index });
    socket.on('connect_error', reject);
    socket.on('welcome', (welcome) => {
      ({ index } = welcome);
      settle();
    });
    socket.on('connect', () => socket.io.engine.once('upgrade', settle));
  });
}

function hello(room) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(new URL(`/ws?room=${room}`, stage.front.replace(/^http/, 'ws')), { ca });
    socket.on('error', reject);
    socket.once('message', (message) => {
      resolve(JSON.parse(message).hello);
      socket.close();
    });
  });
}

// The load that `make load` makes, for a while.
function startLoad({ seconds, rate, sockets }) {
  const args = ['scripts/load.mjs', '--json', '--url', stage.front, '--ca', stage.ca];
  const child = spawn(process.execPath, [...args, '--seconds', `${seconds}`, '--rate', `${rate}`, '--sockets', `${sockets}`], {
    cwd: root, stdio: ['ignore', 'pipe', 'inherit'],
  });
  const report = child.stdout.toArray().then((chunks) => JSON.parse(Buffer.concat(chunks).toString()));
  const total = () => inService('api').reduce((sum, { requests }) => sum + requests, 0);
  return {
    report,
    // Under way once each server has requests of it, and its sockets are open.
    async underWay() {
      const before = total();
      await eventually('the load to be under way', () => total() > before + rate / 2);
    },
  };
}
