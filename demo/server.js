// The demo server: puts the parts together and listens. One process of this is one server behind Lintel.
//
//   PORT=3001 node server.js
//
// Every setting is an environment variable; lib/settings.js lists them.

import http from 'node:http';

import { createApp } from './lib/app.js';
import { attachChat } from './lib/chat.js';
import { CpuPool } from './lib/cpu-pool.js';
import { attachEcho } from './lib/echo.js';
import { Flight } from './lib/flight.js';
import { connectRedis } from './lib/redis.js';
import { readSettings } from './lib/settings.js';
import { endOnSignal } from './lib/shutdown.js';

const settings = readSettings(process.env);
const flight = new Flight();
const cpuPool = new CpuPool(settings.cpu);
const redis = settings.redisUrl ? await connectRedis(settings.redisUrl) : null;

// Socket.IO takes its own requests and passes on the rest, but only to whoever listened before it: hence this order.
const server = http.createServer((req, res) => app(req, res));
const chat = await attachChat(server, settings, redis);
const echo = attachEcho(server, settings);
const app = createApp({ settings, flight, cpuPool, redis, chat, echo });

server.on('error', (error) => {
  console.error(`demo server ${settings.index}: ${error.message}`);
  process.exit(1);
});

server.listen({ port: settings.port, host: settings.host }, () => {
  const { address, family, port } = server.address();
  settings.port = port; // PORT=0 lets the system choose; from here on everyone sees the real one
  const host = family === 'IPv6' ? `[${address}]` : address;
  console.log(`demo server ${settings.index} (pid ${process.pid}) listening on http://${host}:${port}`);
});

endOnSignal({ server, settings, flight, cpuPool, redis, chat, echo });
