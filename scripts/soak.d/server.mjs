// A server of the soak: bodies whose digest the client knows, echoes, WebSockets. Its faults come by signal or by message,
// and it tells whoever started it the id of each POST that it executed.

import { createHash } from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(new URL('../../demo/package.json', import.meta.url))('ws');

const PATTERN = Buffer.alloc(4 << 20, 'A soak shows what a minute cannot. ');
const digests = new Map();
let resets = false;

process.on('message', (message) => {
  if ('resets' in message) resets = message.resets;
});
// An orphan ends by itself.
process.on('disconnect', () => process.exit(0));

const server = http.createServer((request, response) => {
  const [, what, size] = request.url.replace(/^\/app/, '').split('/');
  if (resets && what !== 'health') {
    request.socket.resetAndDestroy();
  } else if (what === 'echo') {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => {
      process.send?.({ executed: request.headers['x-id'] });
      response.end(Buffer.concat(pieces));
    });
  } else if (what === 'bytes') {
    const body = PATTERN.subarray(0, Math.min(Number(size), PATTERN.length));
    if (!digests.has(size)) digests.set(size, createHash('sha256').update(body).digest('hex'));
    response.writeHead(200, { 'content-length': body.length, 'x-digest': digests.get(size) });
    response.end(body);
  } else {
    response.end('ok');
  }
});
new WebSocketServer({ server }).on('connection', (socket) => {
  socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on('error', () => {});
});
server.listen(Number(process.env.SOAK_PORT ?? 3000), '127.0.0.1', () => {
  process.send?.({ port: server.address().port });
});
