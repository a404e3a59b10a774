// A task: it says how it is, and is otherwise left as it was, whatever it listens on.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { check, folder, start } from './worker.mjs';

const WRAPPER = fileURLToPath(new URL('apps/wrapper.cjs', import.meta.url));

const startTask = (t, { env = {}, ...options } = {}) => start(t, 'task.cjs', {
  socket: 'none', env: { LINTEL_LISTEN: 'nowhere', LINTEL_FALLBACK: '', ...env }, ...options,
});

check('a task reports from its start', async (t) => {
  const task = await startTask(t);
  const hello = await task.control.message('hello');
  assert.deepEqual([hello.worker, hello.pid], ['api/0/7', task.child.pid]);
  const load = await task.control.message('load');
  assert.ok(load.rss > 1e7 && load.heap > 1e6 && load.active === 0, JSON.stringify(load));
  task.child.stdin.write('burn\n');
  await task.control.until((message) => message.t === 'load' && message.elu > 0.9 && message.lag_max > 300);
});

check('a port of its own is its own', async (t) => {
  const task = await startTask(t);
  const { port, address, keepAlive } = await task.said('metrics');
  assert.deepEqual([address, keepAlive], [{ address: '127.0.0.1', family: 'IPv4', port }, 5000]);
  const [response] = await once(http.get({ port, host: '127.0.0.1', agent: false }), 'response');
  assert.equal((await response.setEncoding('utf8').toArray()).join(''), 'metrics');
  await task.control.message('load');
  assert.deepEqual(['listening', 'extra', 'problem'].filter((kind) => task.control.has(kind)), []);
  assert.deepEqual(fs.readdirSync(task.place).sort(), ['control.sock', 'worker.sock']);
});

check('a task says when it is ready', async (t) => {
  const task = await startTask(t);
  await task.control.message('load');
  assert.equal(task.control.has('ready'), false);
  task.child.stdin.write('ready\n');
  await task.control.message('ready');
});

check('a task dies by a signal as ever', async (t) => {
  const task = await startTask(t);
  assert.deepEqual(await task.said('up'), [0, 0, 0]);
  await task.control.message('load');
  task.child.kill('SIGTERM');
  assert.equal(await task.end(), 'SIGTERM');
});

check('reports do not keep a task that has nothing left to do', async (t) => {
  const task = await startTask(t);
  await task.said('metrics');
  await task.control.message('load');
  task.child.stdin.write('end\n');
  assert.equal(await task.end(), 0);
});

check('a report is written when it is asked for', async (t) => {
  const task = await startTask(t);
  await task.control.message('load');
  task.control.command('report');
  const { file } = await task.control.message('report');
  assert.ok(fs.existsSync(path.join(task.place, file)));
});

check('of a tree it is the task that reports, not npm and not its children', async (t) => {
  const npm = path.join(folder(t), 'npm');
  fs.symlinkSync(WRAPPER, npm);
  const task = await startTask(t, { through: [npm] });
  await task.said('metrics');
  const hello = await task.control.message('hello');
  assert.notEqual(hello.pid, task.child.pid);
  const heard = task.control.told.length;
  for (const from of [heard, heard + 3, heard + 6]) await task.control.message('load', from);
  assert.deepEqual(task.control.told.filter((message) => message.t === 'hello'), [hello]);
});
