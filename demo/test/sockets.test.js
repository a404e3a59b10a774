import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { io } from 'socket.io-client';
import WebSocket from 'ws';

import { eventually, startServer } from './server.js';

async function openEcho(t, server, query = '') {
  const client = new WebSocket(`${server.url.replace('http', 'ws')}/ws${query}`);
  t.after(() => client.terminate());
  const [first] = await once(client, 'message');
  return { client, hello: JSON.parse(first).hello };
}

function openChat(t, server, options = {}) {
  const client = io(server.url, { forceNew: true, ...options });
  t.after(() => client.disconnect());
  return client;
}

async function peerFolder(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'lintel-demo-peers-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

describe('the WebSocket echo', () => {
  test('greets with the server and returns text and binary as they came', async (t) => {
    const server = await startServer(t, { DEMO_INDEX: '3' });
    const { client, hello } = await openEcho(t, server, '?room=attic');
    assert.equal(hello.index, 3);
    assert.equal(hello.room, 'attic');

    client.send('text');
    const [text, textIsBinary] = await once(client, 'message');
    assert.deepEqual([String(text), textIsBinary], ['text', false]);
    client.send(Buffer.from([0, 1, 255]));
    const [binary, binaryIsBinary] = await once(client, 'message');
    assert.deepEqual([[...binary], binaryIsBinary], [[0, 1, 255], true]);
  });

  test('refuses an upgrade that belongs to nobody', async (t) => {
    const server = await startServer(t);
    const client = new WebSocket(`${server.url.replace('http', 'ws')}/elsewhere`);
    const [error] = await once(client, 'error');
    assert.match(error.message, /404/);
  });

  test('survives a target that is no path', async (t) => {
    const server = await startServer(t);
    const socket = net.connect(server.port, '127.0.0.1');
    socket.write('GET // HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    const [piece] = await once(socket, 'data');
    assert.match(String(piece), /^HTTP\/1\.1 404/);
    socket.destroy();
    assert.equal((await server.get('/healthz')).status, 200);
  });
});

describe('the chat', () => {
  test('welcomes with the server and upgrades from polling to a WebSocket', async (t) => {
    const server = await startServer(t, { DEMO_INDEX: '2' });
    const client = openChat(t, server, { auth: { name: 'Ada' } });
    const upgraded = new Promise((resolve) => {
      client.io.on('open', () => client.io.engine.once('upgrade', (transport) => resolve(transport.name)));
    });
    const [welcome] = await new Promise((resolve) => client.once('welcome', (...all) => resolve(all)));
    assert.equal(welcome.index, 2);
    assert.equal(welcome.name, 'Ada');
    assert.equal(await upgraded, 'websocket');
  });

  test('confirms each message and carries the index of its server', async (t) => {
    const server = await startServer(t, { DEMO_INDEX: '2' });
    const client = openChat(t, server);
    const said = new Promise((resolve) => {
      client.on('message', (message) => message.kind === 'say' && resolve(message));
    });
    const confirmed = await client.emitWithAck('say', 'hello');
    const message = await said;
    assert.equal(message.text, 'hello');
    assert.equal(message.index, 2);
    assert.deepEqual(confirmed, { id: message.id, index: 2 });
  });

  test('reaches people on other servers without Redis, each once', async (t) => {
    const DEMO_PEER_FOLDER = await peerFolder(t);
    const servers = await Promise.all(['0', '1', '2'].map((index) => startServer(t, { DEMO_PEER_FOLDER, DEMO_INDEX: index })));
    const clients = servers.map((server, i) => openChat(t, server, { auth: { name: `guest ${i}` } }));
    const heard = clients.map(() => []);
    clients.forEach((client, i) => client.on('message', ({ kind, text }) => kind === 'say' && heard[i].push(text)));
    await Promise.all(clients.map((client) => new Promise((resolve) => client.once('welcome', resolve))));
    await eventually('a message at everyone', async () => {
      clients[0].emit('say', 'hello?'); // the servers may still be meeting
      return heard.every((texts) => texts.length > 0);
    });

    const numbers = Array.from({ length: 20 }, (_, i) => String(i));
    for (const number of numbers) clients[1].emit('say', number);
    clients[1].emit('say', 'end');
    await eventually('the last message at everyone', () => heard.every((texts) => texts.includes('end')));
    for (const texts of heard) assert.deepEqual(texts.filter((text) => text !== 'hello?'), [...numbers, 'end']);
  });

  test('tells people on a server that came later what was said, and forgets servers that are gone', async (t) => {
    const DEMO_PEER_FOLDER = await peerFolder(t);
    const [first, second] = await Promise.all(['0', '1'].map((index) => startServer(t, { DEMO_PEER_FOLDER, DEMO_INDEX: index })));
    await openChat(t, first).emitWithAck('say', 'before your time');
    second.child.kill('SIGKILL');
    await second.ended;
    assert.equal((await readdir(DEMO_PEER_FOLDER)).length, 2, 'what is killed leaves its socket');

    const third = await startServer(t, { DEMO_PEER_FOLDER, DEMO_INDEX: '1' });
    const texts = await eventually('the history of another server', async () => {
      const newcomer = openChat(t, third);
      const { history } = await new Promise((resolve) => newcomer.once('welcome', resolve));
      newcomer.disconnect();
      return history.some(({ kind }) => kind === 'say') && history.map(({ text }) => text);
    });
    assert.ok(texts.includes('before your time'), texts);
    await eventually('the end of the stale socket', async () => (await readdir(DEMO_PEER_FOLDER)).length === 2);

    first.child.kill('SIGTERM');
    assert.deepEqual(await first.ended, { code: 0, signal: null });
    assert.equal((await readdir(DEMO_PEER_FOLDER)).length, 1);
    assert.equal(first.complaints() + third.complaints(), '');
  });

  test('goes on alone where it cannot meet other servers, and says so', async (t) => {
    const server = await startServer(t, { DEMO_PEER_FOLDER: '/dev/null/nowhere' });
    const { index } = await openChat(t, server).emitWithAck('say', 'anyone?');
    assert.equal(index, 1);
    await eventually('a complaint', () => /other servers do not hear/.test(server.complaints()));
  });
});
