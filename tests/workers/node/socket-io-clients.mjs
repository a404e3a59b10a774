// Socket.IO clients that stay: by polling first and then an upgrade, with all defaults, so they come back by themselves.
//
//   node socket-io-clients.mjs URL COUNT [TRANSPORT...]
//
// Writes a line of JSON once all are connected, and another for each line on stdin, when all are connected again.

import http from 'node:http';
import readline from 'node:readline';
import { setTimeout as after } from 'node:timers/promises';

import { io } from 'socket.io-client';

const [url, count, ...transports] = process.argv.slice(2);
const DEADLINE_MS = 25_000;

// Whatever is answered but what Socket.IO answers when all is well: its packets (200) and its WebSockets (101).
const strange = [];
const { emit } = http.ClientRequest.prototype;
http.ClientRequest.prototype.emit = function watched(event, response) {
  if (event === 'response' && response.statusCode !== 200) {
    const answer = { status: response.statusCode, target: this.path, body: '', ms: Math.round(performance.now()) };
    strange.push(answer);
    response.on('data', (piece) => { answer.body += String(piece).slice(0, 200); });
  }
  return emit.apply(this, arguments);
};

const clients = Array.from({ length: Number(count) }, () => {
  const options = transports.length > 0 ? { transports } : {};
  const socket = io(url, { forceNew: true, ...options });
  const client = { socket, connects: 0, pids: [], errors: [], disconnects: [], reconnects: 0 };
  socket.on('connect', () => { client.connects += 1; });
  socket.on('welcome', ({ pid }) => client.pids.push(pid));
  socket.on('connect_error', (error) => client.errors.push(String(error.description?.message ?? error.message)));
  socket.on('disconnect', (reason, details) => client.disconnects.push([reason, details?.description].filter(Boolean).join(': ')));
  socket.io.on('reconnect', () => { client.reconnects += 1; });
  return client;
});

/** Connected, told by whom, and as far as it goes: a WebSocket unless it may only poll. */
function isSettled({ socket, connects, pids }) {
  const wanted = transports.length === 1 ? transports[0] : 'websocket';
  return socket.connected && pids.length === connects && socket.io.engine.transport.name === wanted;
}

async function settled() {
  const deadline = performance.now() + DEADLINE_MS;
  while (!clients.every(isSettled) && performance.now() < deadline) await after(20);
}

/** Who answers each now, over the connection that it has. */
function whereabouts() {
  return Promise.all(clients.map(({ socket }) => socket.timeout(5000).emitWithAck('who').catch(() => null)));
}

function tally(values) {
  const counts = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

async function report() {
  await settled();
  const now = await whereabouts();
  const lists = (of) => clients.flatMap(of);
  console.log(JSON.stringify({
    settled: clients.filter(isSettled).length,
    workers: tally(now.filter((pid) => pid !== null)),
    moved: clients.filter(({ pids }, place) => pids.at(-1) !== now[place]).length,
    connects: tally(clients.map(({ connects }) => connects)),
    reconnects: tally(clients.map(({ reconnects }) => reconnects)),
    disconnects: tally(lists(({ disconnects }) => disconnects)),
    errors: tally(lists(({ errors }) => errors)),
    strange,
  }));
}

await report();
for await (const _ of readline.createInterface({ input: process.stdin })) await report();
process.exit(0);
