// How a worker ends.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';

import { check, heldRequest, start } from './worker.mjs';

for (const how of ['SIGTERM', 'SIGINT', 'command']) {
  check(`after ${how} a request in flight is finished, and the exit code is 0`, async (t) => {
    const worker = await start(t, 'http.cjs');
    await worker.control.message('listening');
    const held = await heldRequest(worker.at);
    await worker.said('holding');
    if (how === 'command') worker.control.command('shutdown');
    else worker.child.kill(how);
    assert.deepEqual(await worker.control.message('draining'), { t: 'draining', app_handles: false });
    const refused = net.connect(worker.at);
    const [error] = await once(refused, 'error');
    assert.match(error.code, /^(ECONNREFUSED|ECONNRESET)$/); // reset: it was waiting when the listener closed
    const answer = await held.finish();
    assert.equal(answer.statusCode, 200);
    assert.equal(answer.headers.connection, 'close');
    assert.equal(await worker.end(), 0);
  });
}

check('idle and unused connections do not hold it up', async (t) => {
  const worker = await start(t, 'http.cjs');
  await worker.control.message('listening');
  const agent = new http.Agent({ keepAlive: true });
  await worker.get('/', { agent });
  const unused = net.connect(worker.at);
  await once(unused, 'connect');
  await worker.get(); // after it: the unused connection has been accepted
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
  agent.destroy();
});

check('exit 1 when it takes too long', async (t) => {
  const worker = await start(t, 'http.cjs', { env: { LINTEL_DRAIN_MS: '300' } });
  await worker.control.message('listening');
  await heldRequest(worker.at);
  await worker.said('holding');
  worker.child.kill('SIGTERM');
  const [code] = await worker.exited;
  assert.equal(code, 1);
  assert.match((await worker.control.message('problem')).text, /^not drained after 300 ms: 1 requests/);
});

check('drain: connections are not kept, but new requests are answered', async (t) => {
  const worker = await start(t, 'http.cjs');
  await worker.control.message('listening');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const kept = await worker.get('/', { agent });
  assert.equal(kept.headers.connection, 'keep-alive');
  const [idle] = Object.values(agent.freeSockets).flat();
  const held = await heldRequest(worker.at, { agent: new http.Agent({ keepAlive: true }) });
  await worker.said('holding');
  worker.control.command('drain');
  await once(idle, 'close');
  assert.equal((await held.finish()).headers.connection, 'close');
  const after = await worker.get('/', { agent });
  assert.deepEqual([after.status, after.headers.connection], [200, 'close']);
  assert.equal(worker.control.has('draining'), false);
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
});

check('drain: a request that comes with its connection while the program is busy is answered', async (t) => {
  const worker = await start(t, 'http.cjs');
  await worker.control.message('listening');
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  await worker.get('/', { agent });
  const [idle] = Object.values(agent.freeSockets).flat();
  worker.control.command('drain');
  await once(idle, 'close');
  const busy = worker.get('/busy');
  await worker.said('busy');
  assert.equal((await worker.get('/')).status, 200);
  assert.equal((await busy).text, 'was busy');
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
});

check('HTTP/2 sessions get GOAWAY, streams are finished', async (t) => {
  const worker = await start(t, 'h2c.cjs');
  await worker.control.message('listening');
  const session = http2.connect('http://worker', { createConnection: () => net.connect(worker.at) });
  const stream = session.request({ ':path': '/', ':method': 'POST' }, { endStream: false });
  stream.write('ab');
  await worker.said('stream');
  const goaway = once(session, 'goaway');
  worker.child.kill('SIGTERM');
  const [code] = await goaway;
  assert.equal(code, 0);
  const response = once(stream, 'response');
  stream.end('cd');
  assert.equal((await response)[0][':status'], 200);
  stream.resume();
  await once(stream, 'end');
  assert.equal(await worker.end(), 0);
});

for (const [handled, sent] of [['SIGTERM', 'SIGTERM'], ['SIGINT', 'SIGINT'], ['SIGINT', 'SIGTERM']]) {
  check(`a program with a handler of ${handled} ends itself after ${sent}`, async (t) => {
    const worker = await start(t, 'sigterm.cjs', { env: { SIGNAL: handled } });
    await worker.control.message('listening');
    const held = await heldRequest(worker.at);
    await worker.said('holding');
    worker.child.kill(sent);
    assert.deepEqual(await worker.control.message('draining'), { t: 'draining', app_handles: true });
    assert.equal(await worker.said('own'), handled);
    assert.equal((await held.finish()).headers.connection, 'close');
    assert.equal(await worker.end(), 7);
  });
}

check('a handler is told of the shutdown command', async (t) => {
  const worker = await start(t, 'sigterm.cjs');
  await worker.control.message('listening');
  worker.control.command('shutdown');
  assert.equal(await worker.said('own'), 'SIGTERM');
  assert.equal(await worker.end(), 7);
});

check('a listener that only looks on does not count as a handler', async (t) => {
  const worker = await start(t, 'onlooker.cjs');
  await worker.control.message('listening');
  worker.child.kill('SIGTERM');
  await worker.said('seen');
  assert.equal(await worker.end(), 0);
});

check('a message listener that knows no shutdown is not called', async (t) => {
  const worker = await start(t, 'stubborn.cjs');
  await worker.control.message('listening');
  worker.control.command('shutdown');
  assert.equal(await worker.end(), 0);
});
