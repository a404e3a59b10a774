// Where a program listens, and what it sees of it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';

import { check, get, start } from './worker.mjs';

async function allOf(socket) {
  let text = '';
  for await (const piece of socket.setEncoding('utf8')) text += piece;
  return text;
}

check('a hard-coded port is led to the descriptor, and Lintel is told', async (t) => {
  const worker = await start(t, 'http.cjs');
  const { boot_ms: boot, ...listening } = await worker.control.message('listening');
  assert.deepEqual(listening, { t: 'listening', port: 3000, at: 'fd:3' });
  assert.ok(boot > 0 && boot < 30_000);
  assert.equal((await worker.get()).status, 200);
  const [connection, hello] = worker.control.told;
  assert.deepEqual(connection, { t: 'connection' });
  assert.deepEqual(hello, { t: 'hello', worker: 'api/0/7', pid: worker.child.pid, node: process.version });
});

check('the addresses of server and connection look like those of TCP behind a proxy', async (t) => {
  const worker = await start(t, 'http.cjs');
  assert.equal(await worker.said('before'), null);
  const expected = { address: '::', family: 'IPv6', port: 3000 };
  assert.deepEqual(await worker.said('listening'), { address: expected, send: 'function' });
  const [one, two] = [(await worker.get()).json, (await worker.get()).json];
  assert.deepEqual(one.address, expected);
  assert.deepEqual(one.socket, {
    remoteAddress: '127.0.0.1', remotePort: one.socket.remotePort, remoteFamily: 'IPv4', localAddress: '127.0.0.1', localPort: 3000,
    address: { address: '127.0.0.1', family: 'IPv4', port: 3000 },
  });
  assert.ok(one.socket.remotePort > 1023);
  assert.notEqual(one.socket.remotePort, two.socket.remotePort);
});

for (const [host, address, family] of [['0.0.0.0', '0.0.0.0', 'IPv4'], ['::1', '::1', 'IPv6'], ['localhost', '127.0.0.1', 'IPv4']]) {
  check(`address() after listening on ${host} names it`, async (t) => {
    const worker = await start(t, 'http.cjs', { env: { LISTEN_HOST: host, LISTEN_TEXT: '1' } });
    assert.deepEqual((await worker.said('listening')).address, { address, family, port: 3000 });
  });
}

check('keep-alive is raised where the program left it', async (t) => {
  const worker = await start(t, 'http.cjs');
  await worker.control.message('listening');
  const { json, headers } = await worker.get('/', { headers: { connection: 'keep-alive' } });
  assert.deepEqual([json.keepAlive, json.headers], [65_000, 66_000]);
  assert.equal(headers['keep-alive'], 'timeout=65');
});

check('keep-alive that the program set is its own', async (t) => {
  const worker = await start(t, 'http.cjs', { env: { KEEP_ALIVE: '7000' } });
  await worker.control.message('listening');
  const { json } = await worker.get();
  assert.deepEqual([json.keepAlive, json.headers], [7000, 60_000]);
});

check('an ES module, with port as text, host and backlog', async (t) => {
  const worker = await start(t, 'esm.mjs', { env: { PORT: '4321' } });
  assert.deepEqual(await worker.said('listening'), { address: '0.0.0.0', family: 'IPv4', port: 4321 });
  assert.equal((await worker.get()).text, 'true');
});

check('HTTPS', async (t) => {
  const worker = await start(t, 'https.cjs');
  await worker.control.message('listening');
  const psk = Buffer.from('0123456789abcdef');
  const request = https.get({
    socketPath: worker.at, agent: false, ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2',
    pskCallback: () => ({ psk, identity: 'test' }), checkServerIdentity: () => undefined,
  });
  const [response] = await once(request, 'response');
  assert.deepEqual(JSON.parse(await allOf(response)), ['127.0.0.1', 3443]);
});

check('HTTP/2', async (t) => {
  const worker = await start(t, 'h2c.cjs');
  await worker.control.message('listening');
  const session = http2.connect('http://worker', { createConnection: () => net.connect(worker.at) });
  t.after(() => session.destroy());
  assert.equal(await allOf(session.request({ ':path': '/' })), 'held');
  assert.deepEqual(await worker.said('stream'), { remote: '127.0.0.1' });
  const load = await worker.control.until((message) => message.t === 'load' && message.served === 1);
  assert.equal(load.active, 0);
});

check('localhost and 127.0.0.1 on one port share the socket', async (t) => {
  const worker = await start(t, 'twohosts.cjs');
  const address = { address: '127.0.0.1', family: 'IPv4', port: 3000 };
  assert.deepEqual(await worker.said('both'), [address, address, true]);
  assert.equal((await worker.get()).text, 'first');
  worker.child.stdin.write('close\n');
  assert.deepEqual(await worker.said('closed'), [null, false, true]);
  assert.equal((await worker.get()).text, 'first');
  assert.equal(worker.control.told.filter((message) => message.t === 'listening').length, 1);
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
});

check('a second port gets a socket of its own, removed at the end', async (t) => {
  const worker = await start(t, 'twoports.cjs');
  const extra = await worker.control.message('extra');
  assert.deepEqual(extra, { t: 'extra', port: 9464, at: `${worker.at}.9464` });
  assert.equal((await worker.said('metrics')).port, 9464);
  assert.equal((await worker.get()).text, 'main');
  assert.equal((await get(extra.at, '/')).text, 'metrics');
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
  assert.equal(fs.existsSync(extra.at), false);
});

check('LINTEL_PORT says which port is the main one', async (t) => {
  const worker = await start(t, 'twoports.cjs', { env: { LINTEL_PORT: '9464' } });
  assert.equal((await worker.control.message('listening')).port, 9464);
  assert.equal((await worker.control.message('extra')).port, 3000);
  assert.equal((await worker.get()).text, 'metrics');
});

check('listen(0) and paths are left alone, and Lintel hears nothing', async (t) => {
  const worker = await start(t, 'elsewhere.cjs');
  const [any, own] = await worker.said('at');
  assert.equal(any.address, '127.0.0.1');
  assert.equal(await allOf(net.connect(any.port, any.address)), 'any');
  assert.equal(own, `${worker.place}/own.sock`);
  assert.equal(await allOf(net.connect(own)), 'own');
  worker.child.stdin.write('end\n');
  assert.equal(await worker.end(), 0);
  assert.deepEqual(worker.control.told, []);
});

check('a probe for a free port does no harm', async (t) => {
  const worker = await start(t, 'probe.cjs');
  await worker.said('open');
  assert.equal((await worker.get()).text, 'after the probe');
  const begun = worker.control.told.length;
  await worker.control.message('load', begun);
  await worker.control.message('load', begun + 2);
  assert.equal(worker.control.has('draining'), false);
});

check('behind a wrapper that loses the descriptor the path is bound', async (t) => {
  const worker = await start(t, 'http.cjs', { through: [new URL('apps/wrapper.cjs', import.meta.url).pathname] });
  assert.equal((await worker.control.message('listening')).at, worker.at);
  assert.equal((await worker.get()).json.socket.remoteAddress, '127.0.0.1');
  assert.notEqual((await worker.control.message('hello')).pid, worker.child.pid);
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
});

check('threads are left alone', async (t) => {
  const worker = await start(t, 'threads.cjs');
  const [port, keepAlive, send] = await worker.said('thread');
  const response = await fetch(`http://${['127.0.0.1', port].join(':')}/`);
  assert.equal(await response.text(), 'thread');
  assert.deepEqual([keepAlive, send], [5000, 'undefined']);
  assert.equal((await worker.get()).text, 'main');
});
