// A program that is a cluster by itself: its workers share the one socket.

import assert from 'node:assert/strict';

import { check, heldRequest, start } from './worker.mjs';

async function bothListen(control) {
  const first = await control.message('listening');
  await control.until((message) => message.t === 'listening' && message !== first);
}

for (const socket of ['descriptor', 'path']) {
  check(`the workers of a cluster share the ${socket}`, async (t) => {
    const worker = await start(t, 'cluster.cjs', { socket });
    await bothListen(worker.control);
    const [one, two] = [(await worker.get()).json, (await worker.get()).json];
    assert.notEqual(one.pid, two.pid);
    assert.deepEqual(one.address, { address: '::', family: 'IPv6', port: 3000 });
    assert.equal(one.remote, '127.0.0.1');
    const held = await heldRequest(worker.at);
    await worker.said('holding');
    worker.child.kill('SIGTERM'); // the primary tells its workers, and does not replace them
    const isDraining = (message) => message.t === 'draining';
    await worker.control.until((message) => isDraining(message) && worker.control.told.filter(isDraining).length === 3);
    assert.equal((await held.finish()).statusCode, 200);
    assert.equal(await worker.end(), 0);
    assert.equal(worker.control.told.filter((message) => message.t === 'hello').length, 3);
    assert.equal(worker.control.told.filter((message) => message.t === 'listening').length, 2);
  });
}
