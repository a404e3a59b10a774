import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { describe, test } from 'node:test';

import { io } from 'socket.io-client';
import WebSocket from 'ws';

import { eventually, startServer } from './server.js';

async function inFlight(server) {
  const text = await (await server.get('/metrics')).text();
  return Number(text.match(/^demo_requests_in_flight (\d+)$/m)[1]) - 1;
}

describe('after SIGTERM a demo server', () => {
  test('finishes what runs, takes no new connection and exits with 0', async (t) => {
    const server = await startServer(t);
    const running = server.get('/slow?ms=600');
    await eventually('a request in flight', async () => (await inFlight(server)) === 1);
    server.child.kill('SIGTERM');
    await eventually('the end of accepting', async () => {
      const socket = net.connect(server.port, '127.0.0.1');
      const refused = await Promise.race([once(socket, 'connect').then(() => false), once(socket, 'error').then(() => true)]).catch(() => true);
      socket.destroy();
      return refused;
    });
    const answer = await running;
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('connection'), 'close');
    assert.deepEqual(await answer.json(), { index: 1, slept: 600 });
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.equal(server.complaints(), '');
  });

  test('is not held up by idle connections, event streams, WebSockets or the chat', async (t) => {
    const server = await startServer(t);
    const idle = net.connect(server.port, '127.0.0.1');
    idle.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n');
    await once(idle, 'data');
    const stream = await server.get('/sse');
    const echo = new WebSocket(`${server.url.replace('http', 'ws')}/ws`);
    await once(echo, 'message');
    const chat = io(server.url, { reconnection: false, forceNew: true });
    await new Promise((resolve) => chat.once('welcome', resolve));
    const polling = io(server.url, { reconnection: false, forceNew: true, transports: ['polling'] });
    await new Promise((resolve) => polling.once('welcome', resolve));
    t.after(() => [chat, polling].forEach((client) => client.disconnect()));

    const closed = once(echo, 'close');
    const left = new Promise((resolve) => chat.once('disconnect', resolve));
    const began = Date.now();
    server.child.kill('SIGTERM');
    const [code] = await closed;
    assert.equal(code, 1001);
    assert.match(await left, /^transport/); // a reason after which a client comes back by itself
    assert.match(await stream.text(), /event: hello/);
    assert.deepEqual(await server.ended, { code: 0, signal: null });
    assert.ok(Date.now() - began < 5000, `took ${Date.now() - began} ms`);
    assert.equal(server.complaints(), '');
  });

  test('says so at /healthz while it still accepts, and ends at once at a second signal', async (t) => {
    const server = await startServer(t, { DRAIN_DELAY_MS: '60000' });
    server.child.kill('SIGINT');
    const answer = await eventually('503 at /healthz', async () => {
      const one = await server.get('/healthz');
      return one.status === 503 && one;
    });
    assert.equal((await answer.json()).status, 'draining');
    assert.equal(answer.headers.get('connection'), 'close');
    assert.equal((await server.get('/whoami')).status, 200);
    server.child.kill('SIGINT');
    assert.deepEqual(await server.ended, { code: 0, signal: null });
  });

  test('cuts what does not end by itself at its deadline', async (t) => {
    const server = await startServer(t, { DRAIN_TIMEOUT_MS: '50' });
    const running = server.get('/slow?ms=60000').catch((error) => error);
    await eventually('a request in flight', async () => (await inFlight(server)) === 1);
    server.child.kill('SIGTERM');
    assert.ok((await running) instanceof Error);
    assert.deepEqual(await server.ended, { code: 0, signal: null });
  });
});
