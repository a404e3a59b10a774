// What is said over the control channel.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';

import { check, Control, heldRequest, start } from './worker.mjs';

check('load is reported', async (t) => {
  const worker = await start(t, 'http.cjs');
  await worker.control.message('listening');
  await worker.get();
  const held = await heldRequest(worker.at);
  const load = await worker.control.until((message) => message.t === 'load' && message.active === 1);
  assert.deepEqual(
    Object.keys(load),
    ['t', 'elu', 'lag_p99', 'lag_max', 'rss', 'heap', 'external', 'active', 'served', 'sockets', 'handles'],
  );
  assert.ok(Object.values(load).slice(1).every((value) => Number.isFinite(value) && value >= 0), JSON.stringify(load));
  assert.ok(load.elu <= 1 && load.rss > 1e7 && load.heap > 1e6 && load.handles > 0 && load.served === 1);
  held.request.destroy();
  await worker.control.until((message) => message.t === 'load' && message.active === 0 && message.served === 2);
});

check('a new Lintel hears everything again', async (t) => {
  const worker = await start(t, 'twoports.cjs');
  await worker.control.message('extra');
  await worker.control.message('load');
  await worker.control.close();
  assert.equal((await worker.get()).text, 'main');
  const next = await new Control().open(path.join(worker.place, 'control.sock'));
  t.after(() => next.close());
  await next.message('load');
  assert.deepEqual(next.told.slice(0, 4).map((message) => message.t).sort(), ['connection', 'extra', 'hello', 'listening']);
  assert.equal(next.told[1].t, 'hello');
  next.command('shutdown');
  assert.equal(await worker.end(), 0);
  assert.deepEqual(await next.message('draining'), { t: 'draining', app_handles: false });
});

check('a worker lives without Lintel', async (t) => {
  const worker = await start(t, 'http.cjs', { env: { LINTEL_CONTROL: '/nowhere/at/all' } });
  await worker.said('listening');
  assert.equal((await worker.get()).status, 200);
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 0);
});

check('nonsense from the control channel is survived', async (t) => {
  const worker = await start(t, 'http.cjs');
  await worker.control.message('listening');
  for (const word of ['__proto__', null, 7]) worker.control.command(word);
  worker.control.command('report');
  const { file } = await worker.control.message('report');
  const report = JSON.parse(fs.readFileSync(path.join(worker.place, file), 'utf8'));
  assert.equal(report.header.processId, worker.child.pid);
});

check('a PM2 program says when it is ready, and ends by its message', async (t) => {
  const worker = await start(t, 'pm2.cjs');
  await worker.control.message('listening');
  assert.equal(worker.control.has('ready'), false);
  worker.child.stdin.write('go\n');
  await worker.control.message('ready');
  await worker.said('sent');
  worker.control.command('shutdown');
  await worker.said('told');
  assert.equal((await worker.control.message('draining')).app_handles, true);
  assert.equal(await worker.end(), 5);
});

check('a program that closes its server by itself is taken out', async (t) => {
  const worker = await start(t, 'leaving.cjs');
  await worker.control.message('listening');
  worker.child.stdin.end('close\n');
  assert.equal(await worker.end(), 0);

  const kept = await start(t, 'leaving.cjs');
  await kept.control.message('listening');
  kept.child.stdin.write('close\n'); // stdin stays open and keeps the program alive
  assert.deepEqual(await kept.control.message('draining'), { t: 'draining', app_handles: true });
});

check('a process that never listens is silent and unchanged', async (t) => {
  const worker = await start(t, 'silent.cjs');
  assert.deepEqual(await worker.said('up'), [0, 0, 0]);
  worker.child.stdin.write('end\n');
  assert.equal(await worker.end(), 0);
  assert.deepEqual(worker.control.told, []);
});

check('a process that never listens dies by a signal as ever', async (t) => {
  const worker = await start(t, 'silent.cjs');
  await worker.said('up');
  worker.child.kill('SIGTERM');
  assert.equal(await worker.end(), 'SIGTERM');
});

check('without Lintel in the environment nothing is done', async (t) => {
  const worker = await start(t, 'silent.cjs', { env: { LINTEL_LISTEN: '' } });
  await worker.said('up');
  worker.child.stdin.end('end\n');
  const [code] = await once(worker.child, 'exit');
  assert.equal(code, 0);
  assert.deepEqual(worker.control.told, []);
});
