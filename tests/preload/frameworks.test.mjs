// Real frameworks, from the demo's packages.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import { once } from 'node:events';
import { test } from 'node:test';

import { check, start } from './worker.mjs';

const packages = new URL('../../demo/package.json', import.meta.url);
const installed = fs.existsSync(new URL('node_modules/express', packages));
const real = installed ? check : (name) => test(name, { skip: 'the packages of demo/ are not installed' }, () => {});

real('Express trusts the proxy before it', async (t) => {
  const worker = await start(t, 'express.cjs');
  await worker.control.message('listening');
  const { json } = await worker.get('/', { headers: { 'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https' } });
  assert.deepEqual(json, { ip: '203.0.113.9', protocol: 'https', secure: true });
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
});

real('a Socket.IO client upgrades, is counted, and is told that the server goes away', async (t) => {
  const worker = await start(t, 'socketio.cjs');
  await worker.control.message('listening');
  await worker.said('attached');
  const WebSocket = createRequire(packages)('ws');
  const client = new WebSocket(`ws+unix://${worker.at}:/socket.io/?EIO=4&transport=websocket`);
  t.after(() => client.terminate());
  const messages = [];
  const welcome = new Promise((resolve) => client.on('message', (message) => {
    messages.push(String(message));
    if (messages.length === 1) client.send('40');
    if (String(message).startsWith('42')) resolve(String(message));
  }));
  assert.equal(await welcome, '42["welcome","127.0.0.1"]');
  await worker.control.until((message) => message.t === 'load' && message.sockets === 1);
  const closed = once(client, 'close');
  worker.child.kill('SIGTERM');
  assert.equal((await closed)[0], 1001);
  assert.equal(await worker.end(), 0);
});
