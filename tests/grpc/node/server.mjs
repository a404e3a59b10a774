// A gRPC server that echoes. Listens on 127.0.0.1 without TLS and prints {"port":N}.
//
//   node server.mjs --name one [--port N]
//
// Lines on stdin: `serving` and `not_serving` switch what health checks are told, each answered with {"health":...};
// `counts` prints how many calls of which kind there were. It ends when stdin does.

import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const { values: options } = parseArgs({
  options: { name: { type: 'string', default: 'one' }, port: { type: 'string', default: '0' } },
});

function load(file) {
  const path = fileURLToPath(new URL(file, import.meta.url));
  return grpc.loadPackageDefinition(
    protoLoader.loadSync(path, { keepCase: true, defaults: true, enums: String, longs: Number }),
  );
}

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const counts = { unary: 0, client_stream: 0, server_stream: 0, bidi: 0, health: 0, cancelled: 0 };

function count(kind, call) {
  counts[kind] += 1;
  call.on('cancelled', () => {
    counts.cancelled += 1;
  });
}

// Sends the head, with the client's x-test.
function begin(call) {
  const initial = new grpc.Metadata();
  for (const value of call.metadata.get('x-test')) initial.add('x-test', value);
  initial.set('x-server', options.name);
  call.sendMetadata(initial);
}

function trailers(kind) {
  const metadata = new grpc.Metadata();
  metadata.set('x-trailer', `${options.name} ${kind}`);
  return metadata;
}

function failure(kind, code) {
  return { code, details: `told to fail with ${code}`, metadata: trailers(kind) };
}

const answer = (text, count) => ({ text, count, server: options.name });

async function unary(call, reply) {
  count('unary', call);
  const { text, count: number, delay_ms, fail_code } = call.request;
  // The head comes with the answer, as from most servers; streams begin at once.
  if (delay_ms > 0) await delay(delay_ms);
  if (call.cancelled) return;
  begin(call);
  if (fail_code > 0) reply(failure('unary', fail_code));
  else reply(null, answer(text, number), trailers('unary'));
}

// Gives each message of the client to `take`, one after the other; ends with the client's stream, or with the call.
// (Not `for await`, which would destroy the call at the end of what the client sends.)
function each(call, take) {
  return new Promise((resolve) => {
    call.on('data', async (message) => {
      call.pause();
      await take(message);
      call.resume();
    });
    call.on('end', resolve);
    call.on('error', resolve);
    call.on('cancelled', resolve);
  });
}

async function clientStream(call, reply) {
  count('client_stream', call);
  begin(call);
  const texts = [];
  let failed = 0;
  await each(call, async ({ text, delay_ms, fail_code }) => {
    if (delay_ms > 0) await delay(delay_ms);
    failed ||= fail_code;
    texts.push(text);
  });
  if (failed) reply(failure('client_stream', failed));
  else reply(null, answer(texts.join(''), texts.length), trailers('client_stream'));
}

// Writes one message, and waits while the other side takes nothing.
async function write(call, message) {
  if (call.write(message) || call.cancelled) return;
  await new Promise((resolve) => {
    const go = () => {
      call.off('drain', go).off('cancelled', go);
      resolve();
    };
    call.on('drain', go).on('cancelled', go);
  });
}

async function serverStream(call) {
  count('server_stream', call);
  begin(call);
  const { text, count: last, delay_ms, fail_code } = call.request;
  for (let number = 1; number <= last && !call.cancelled; number += 1) {
    if (delay_ms > 0) await delay(delay_ms);
    await write(call, answer(text, number));
  }
  if (fail_code > 0) call.emit('error', failure('server_stream', fail_code));
  else call.end(trailers('server_stream'));
}

async function bidi(call) {
  count('bidi', call);
  begin(call);
  let [number, failed] = [0, 0];
  await each(call, async ({ text, delay_ms, fail_code }) => {
    if (delay_ms > 0) await delay(delay_ms);
    failed ||= fail_code;
    if (failed) return;
    number += 1;
    await write(call, answer(text, number));
  });
  if (failed) call.emit('error', failure('bidi', failed));
  else call.end(trailers('bidi'));
}

let health = 'SERVING';
const watchers = new Set();

function check(call, reply) {
  counts.health += 1;
  if (['', 'lintel.test.Echo'].includes(call.request.service)) reply(null, { status: health });
  else reply({ code: grpc.status.NOT_FOUND, details: 'no such service' });
}

function watch(call) {
  watchers.add(call);
  call.on('cancelled', () => watchers.delete(call));
  const known = ['', 'lintel.test.Echo'].includes(call.request.service);
  call.write({ status: known ? health : 'SERVICE_UNKNOWN' });
}

function switchHealth(status) {
  health = status;
  for (const call of watchers) call.write({ status });
  print({ health });
}

const server = new grpc.Server();
server.addService(load('echo.proto').lintel.test.Echo.service, {
  Unary: unary,
  ClientStream: clientStream,
  ServerStream: serverStream,
  Bidi: bidi,
});
server.addService(load('health.proto').grpc.health.v1.Health.service, { Check: check, Watch: watch });
server.bindAsync(`127.0.0.1:${options.port}`, grpc.ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  print({ port });
});

createInterface({ input: process.stdin })
  .on('line', (line) => {
    if (line === 'serving') switchHealth('SERVING');
    else if (line === 'not_serving') switchHealth('NOT_SERVING');
    else if (line === 'counts') print({ counts });
  })
  .on('close', () => process.exit(0));
