import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { describe, test } from 'node:test';

import { io } from 'socket.io-client';
import WebSocket from 'ws';

import { startServer } from './server.js';

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

  test('reaches people on other servers without Redis, and newcomers see what was said', async (t) => {
    const DEMO_PEER_KEY = 'only the servers know';
    const b = await startServer(t, { DEMO_PEER_KEY, DEMO_INDEX: '2' });
    const a = await startServer(t, { DEMO_PEER_KEY, DEMO_INDEX: '1', DEMO_PEERS: b.url });
    const speaker = openChat(t, a, { auth: { name: 'Grace' } });
    const listener = openChat(t, b);
    await Promise.all([speaker, listener].map((client) => new Promise((resolve) => client.once('welcome', resolve))));

    const heard = new Promise((resolve) => {
      listener.on('message', (message) => message.kind === 'say' && resolve(message));
    });
    speaker.emit('say', 'over here');
    const message = await heard;
    assert.deepEqual([message.name, message.text, message.index], ['Grace', 'over here', 1]);

    const newcomer = openChat(t, b);
    const { history } = await new Promise((resolve) => newcomer.once('welcome', resolve));
    assert.ok(history.some(({ text }) => text === 'over here'));
  });
});
