// WebSockets at a shutdown: a Close 1001 between two frames, and never within one.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

import { check, start } from './worker.mjs';

const CLOSE = '880203e9';
const ANSWER = Buffer.from('888200000000' + '03e9', 'hex');

/** A worker with one WebSocket, whose received bytes are kept in hexadecimal. */
async function connected(t) {
  const worker = await start(t, 'upgrade.cjs');
  await worker.control.message('listening');
  const request = http.get({
    socketPath: worker.at,
    headers: { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-version': 13 },
  });
  const [response, socket, head] = await once(request, 'upgrade');
  assert.equal(response.statusCode, 101);
  let received = head.toString('hex');
  const looks = new Set();
  socket.on('data', (piece) => {
    received += piece.toString('hex');
    for (const look of looks) look();
  });
  const until = (ending) => new Promise((resolve) => {
    const look = () => received.endsWith(ending) && resolve(received);
    looks.add(look);
    look();
  });
  const write = (hex) => worker.child.stdin.write(`${hex}\n`);
  return { worker, socket, until, write };
}

check('a WebSocket is told that the server goes away', async (t) => {
  const { worker, socket, until, write } = await connected(t);
  write('81026869');
  await until('81026869');
  await worker.control.until((message) => message.t === 'load' && message.sockets === 1);
  worker.child.kill('SIGTERM');
  assert.equal(await until(CLOSE), `81026869${CLOSE}`);
  socket.end(ANSWER);
  assert.equal(await worker.end(), 0);
});

for (const [name, begun, rest] of [
  ['a payload', '81056865', '6c6c6f'],
  ['a header', '81', '026869'],
  ['an extended length', '827e01', `00${'00'.repeat(256)}`],
  ['a long length', '827f00000000', `00010000${'00'.repeat(65536)}8900`],
]) {
  check(`within ${name} the Close waits for the end of the frame`, async (t) => {
    const { worker, socket, until, write } = await connected(t);
    write(begun);
    await until(begun);
    worker.child.kill('SIGTERM');
    await worker.control.message('draining');
    write(rest);
    assert.equal(await until(CLOSE), `${begun}${rest}${CLOSE}`);
    write('81026869'); // nothing follows a Close
    socket.end(ANSWER);
    assert.equal(await worker.end(), 0);
  });
}

check('a client that does not answer the Close is cut', async (t) => {
  const { worker, socket, until } = await connected(t);
  worker.child.kill('SIGTERM');
  await until(CLOSE);
  await once(socket, 'close');
  assert.equal(await worker.end(), 0);
});
