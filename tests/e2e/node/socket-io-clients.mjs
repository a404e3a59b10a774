// Opens many Socket.IO clients at once, by polling first and then an upgrade, with no cookies kept.
// Prints one line of JSON: how many connected, upgraded and failed, and how many are on which server.
//
//   node socket-io-clients.mjs URL COUNT      with DEMO_FOLDER for node_modules

import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.env.DEMO_FOLDER, 'package.json'));
const { io } = require('socket.io-client');

const [url, count] = [process.argv[2], Number(process.argv[3])];
const DEADLINE_MS = 25_000;

function open(number) {
  return new Promise((resolve) => {
    const socket = io(url, {
      transports: ['polling', 'websocket'],
      forceNew: true,
      reconnection: false,
      timeout: DEADLINE_MS,
      auth: { name: `client-${number}` },
    });
    const result = { connected: false, upgraded: false, server: null, error: null };
    const done = () => resolve({ socket, result });
    const timer = setTimeout(() => {
      result.error = 'deadline';
      done();
    }, DEADLINE_MS);
    const check = () => {
      if (!result.connected || !result.upgraded || result.server === null) return;
      // The upgraded connection must work, and end at the same server.
      socket.timeout(DEADLINE_MS).emit('ping-server', (error, answer) => {
        clearTimeout(timer);
        if (error) result.error = String(error);
        else if (answer.index !== result.server) result.error = `moved from ${result.server} to ${answer.index}`;
        done();
      });
    };
    socket.on('connect', () => {
      result.connected = true;
      if (socket.io.engine.transport.name === 'websocket') result.upgraded = true;
      socket.io.engine.once('upgrade', () => {
        result.upgraded = true;
        check();
      });
    });
    socket.on('welcome', ({ index }) => {
      result.server = index;
      check();
    });
    for (const event of ['connect_error', 'disconnect']) {
      socket.on(event, (error) => {
        clearTimeout(timer);
        result.error = `${event}: ${error?.message ?? error}`;
        done();
      });
    }
  });
}

const clients = await Promise.all(Array.from({ length: count }, (_, number) => open(number)));
const results = clients.map(({ result }) => result);
const servers = {};
for (const { server } of results) if (server !== null) servers[server] = (servers[server] ?? 0) + 1;
const errors = [...new Set(results.map(({ error }) => error).filter(Boolean))];
const report = {
  connected: results.filter(({ connected }) => connected).length,
  upgraded: results.filter(({ upgraded }) => upgraded).length,
  failed: results.filter(({ error }) => error !== null).length,
  servers,
  errors,
};
process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
