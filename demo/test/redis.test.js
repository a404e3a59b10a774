// What servers share through Redis. Skipped where there is no redis-server; docker-compose.yml brings one.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';

import { createClient } from 'redis';
import { io } from 'socket.io-client';

import { eventually, startServer } from './server.js';

const program = process.env.PATH.split(path.delimiter)
  .map((folder) => path.join(folder, 'redis-server'))
  .find(existsSync);

// A Redis of the test's own, on a unix socket, so that no port is needed.
async function startRedis(t) {
  const folder = await mkdtemp(path.join(tmpdir(), 'lintel-demo-redis-'));
  const socket = path.join(folder, 'redis.sock');
  const child = spawn(program, ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', folder], { stdio: 'ignore' });
  t.after(async () => {
    child.kill();
    await once(child, 'exit');
    await rm(folder, { recursive: true });
  });
  await eventually('the start of Redis', () => existsSync(socket));
  return `unix://${socket}`;
}

describe('with Redis', { skip: program ? false : 'no redis-server here' }, () => {
  test('a session goes on at another server, and chat reaches everyone', async (t) => {
    const REDIS_URL = await startRedis(t);
    const a = await startServer(t, { REDIS_URL, DEMO_INDEX: '1' });
    const b = await startServer(t, { REDIS_URL, DEMO_INDEX: '2' });

    const first = await a.get('/session');
    const headers = { cookie: first.headers.get('set-cookie').split(';')[0] };
    assert.deepEqual(await b.json('/session', { headers }), { index: 2, visits: 2, startedBy: 1, store: 'redis' });
    assert.equal((await a.json('/session', { headers })).visits, 3);

    const [speaker, listener] = [a, b].map((server) => io(server.url, { forceNew: true }));
    t.after(() => [speaker, listener].forEach((client) => client.disconnect()));
    await Promise.all([speaker, listener].map((client) => new Promise((resolve) => client.once('welcome', resolve))));
    const heard = [];
    listener.on('message', (message) => message.kind === 'say' && heard.push(message));
    // The servers may still be subscribing when their first clients come.
    await eventually('a message from the other server', async () => {
      await speaker.emitWithAck('say', 'over here');
      return heard.length > 0;
    });
    assert.equal(heard[0].index, 1);

    a.child.kill('SIGTERM');
    assert.deepEqual(await a.ended, { code: 0, signal: null });
    assert.equal(a.complaints(), '');
    const check = createClient({ url: REDIS_URL });
    await check.connect();
    assert.equal((await check.keys('lintel-demo:session:*')).length, 1);
    await check.close();
  });
});
