// A gRPC client that calls server.mjs, mostly through Lintel. Prints one JSON line, its last, that sums up.
//
//   node client.mjs --target HOST:PORT (--ca FILE [--authority NAME] | --insecure) --mode MODE
//                   [--calls N] [--concurrency M] [--delay MS] [--deadline MS] [--fail CODE]
//
//   unary          N unary calls, M at a time
//   all            the same with the four kinds in turn
//   deadline       as unary, each with a deadline (300 ms unless told otherwise)
//   kill           as unary, with a line {"done":n} for every 500 calls that ended
//   stream-check   each of the four kinds once, with messages of 1 MiB and many small ones, and its content compared

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const { values: options } = parseArgs({
  options: {
    target: { type: 'string' },
    ca: { type: 'string' },
    authority: { type: 'string' },
    insecure: { type: 'boolean', default: false },
    mode: { type: 'string', default: 'unary' },
    calls: { type: 'string', default: '1' },
    concurrency: { type: 'string', default: '1' },
    delay: { type: 'string', default: '0' },
    deadline: { type: 'string' },
    fail: { type: 'string', default: '0' },
  },
});
const [calls, concurrency] = [Number(options.calls), Number(options.concurrency)];
const PROGRESS = 500;
const MIB = 1024 * 1024;
// Longer than any test; what a test is about is said with --deadline.
const deadlineMs = Number(options.deadline ?? (options.mode === 'deadline' ? 300 : 25_000));

const path = fileURLToPath(new URL('echo.proto', import.meta.url));
const loaded = protoLoader.loadSync(path, { keepCase: true, defaults: true });
const { Echo } = grpc.loadPackageDefinition(loaded).lintel.test;

const credentials = options.insecure
  ? grpc.credentials.createInsecure()
  : grpc.credentials.createSsl(readFileSync(options.ca));
// No call is tried a second time behind our back: each failure is to be seen.
const settings = { 'grpc.enable_retries': 0 };
if (options.authority) {
  if (!options.insecure) settings['grpc.ssl_target_name_override'] = options.authority;
  settings['grpc.default_authority'] = options.authority;
}
const client = new Echo(options.target, credentials, settings);

const print = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const timing = () => ({ deadline: Date.now() + deadlineMs });

function metadata(number) {
  const metadata = new grpc.Metadata();
  metadata.set('x-test', `call ${number}`);
  return metadata;
}

// Collects the head, the messages and the end of a call; never rejects.
function watch(call, messages) {
  const seen = { messages, initial: null, status: null };
  call.on('metadata', (initial) => {
    seen.initial = initial;
  });
  if (call.on && messages) call.on('data', (message) => messages.push(message));
  call.on('error', () => {}); // the status says the same
  return new Promise((resolve) => {
    call.on('status', (status) => {
      seen.status = status;
      resolve(seen);
    });
  });
}

// The callback of a call with one answer comes before its status.
function single(start) {
  const messages = [];
  const call = start((error, message) => {
    if (!error) messages.push(message);
  });
  const ended = watch(call, null).then((seen) => ({ ...seen, messages }));
  return { call, ended };
}

const kinds = {
  unary: (message, number) =>
    single((done) => client.Unary(message, metadata(number), timing(), done)).ended,
  clientStream: (message, number) => {
    const { call, ended } = single((done) => client.ClientStream(metadata(number), timing(), done));
    call.write(message);
    call.end(message);
    return ended;
  },
  serverStream: (message, number) =>
    watch(client.ServerStream({ ...message, count: 2 }, metadata(number), timing()), []),
  bidi: (message, number) => {
    const call = client.Bidi(metadata(number), timing());
    const ended = watch(call, []);
    call.write(message);
    call.end(message);
    return ended;
  },
};

const summary = { mode: options.mode, ok: 0, failed: 0, failures: {}, servers: {}, trailers: 0, echoed: 0 };

function note({ messages, initial, status }, number) {
  if (status.metadata?.get('x-trailer').length) summary.trailers += 1;
  if (initial?.get('x-test')[0] === `call ${number}`) summary.echoed += 1;
  const server = messages[0]?.server;
  if (status.code === grpc.status.OK && server) {
    summary.ok += 1;
    summary.servers[server] = (summary.servers[server] ?? 0) + 1;
    return;
  }
  summary.failed += 1;
  const name = grpc.status[status.code] ?? 'none';
  const failure = (summary.failures[name] ??= { code: status.code, count: 0, details: [] });
  failure.count += 1;
  if (failure.details.length < 5 && !failure.details.includes(status.details)) failure.details.push(status.details);
}

async function load(names) {
  const message = { text: 'hello', delay_ms: Number(options.delay), fail_code: Number(options.fail) };
  let [next, done] = [0, 0];
  const began = process.hrtime.bigint();
  await Promise.all(
    Array.from({ length: Math.min(concurrency, calls) }, async () => {
      while (next < calls) {
        const number = next++;
        note(await kinds[names[number % names.length]](message, number), number);
        done += 1;
        if (options.mode === 'kill' && done % PROGRESS === 0) print({ done });
      }
    }),
  );
  summary.ms = Number((process.hrtime.bigint() - began) / 1_000_000n);
}

// Texts whose content says where in the stream they belong.
const filled = (size, seed) => {
  const unit = `${seed}:0123456789abcdefghijklmnopqrstuvwxyz;`;
  return unit.repeat(Math.ceil(size / unit.length)).slice(0, size);
};

// What every good end has: the status, the echoed metadata and the trailer of this kind.
function assertEnd(seen, kind, number) {
  assert.equal(seen.status.code, grpc.status.OK, `${kind}: ${seen.status.code} ${seen.status.details}`);
  assert.deepEqual(seen.initial?.get('x-test'), [`call ${number}`], `${kind}: x-test came back`);
  const trailer = seen.status.metadata.get('x-trailer');
  assert.deepEqual(trailer, [`${seen.messages[0].server} ${kind}`], `${kind}: its trailer`);
  note(seen, number);
}

async function checkUnary(number) {
  const text = filled(MIB, number);
  const seen = await single((done) => client.Unary({ text, count: 7 }, metadata(number), timing(), done)).ended;
  assertEnd(seen, 'unary', number);
  assert.ok(seen.messages[0].text === text && seen.messages[0].count === 7, 'unary: the text of 1 MiB');
}

async function checkClientStream(number) {
  const texts = [filled(MIB, 'big'), ...Array.from({ length: 100 }, (_, at) => filled(at, at)), filled(MIB, 'last')];
  const { call, ended } = single((done) => client.ClientStream(metadata(number), timing(), done));
  for (const text of texts) call.write({ text });
  call.end();
  const seen = await ended;
  assertEnd(seen, 'client_stream', number);
  assert.equal(seen.messages[0].count, texts.length);
  assert.ok(seen.messages[0].text === texts.join(''), 'client stream: all texts joined');
}

async function checkServerStream(number) {
  for (const [size, count] of [[MIB, 5], [10, 500]]) {
    const text = filled(size, number);
    const seen = await watch(client.ServerStream({ text, count }, metadata(number), timing()), []);
    assertEnd(seen, 'server_stream', number);
    assert.equal(seen.messages.length, count);
    const inOrder = seen.messages.every((message, at) => message.text === text && message.count === at + 1);
    assert.ok(inOrder, 'server stream: every text, in order');
  }
}

// Each message is sent only after the answer to the one before it: nothing on the way may hold one back.
async function checkPingPong(number) {
  const call = client.Bidi(metadata(number), timing());
  const texts = Array.from({ length: 50 }, (_, at) => filled(at === 25 ? MIB : at, at));
  let next = 0;
  const send = () => {
    if (next < texts.length) call.write({ text: texts[next++] });
    else call.end();
  };
  const ended = watch(call, []);
  call.on('data', send);
  send();
  const seen = await ended;
  assertEnd(seen, 'bidi', number);
  assert.ok(seen.messages.map(({ text }) => text).join('|') === texts.join('|'), 'bidi: every text, in order');
}

// Both directions full at once.
async function checkBidi(number) {
  const call = client.Bidi(metadata(number), timing());
  const ended = watch(call, []);
  const texts = Array.from({ length: 8 }, (_, at) => filled(MIB, at));
  for (const text of texts) call.write({ text });
  call.end();
  const seen = await ended;
  assertEnd(seen, 'bidi', number);
  const inOrder = seen.messages.every(({ text, count }, at) => text === texts[at] && count === at + 1);
  assert.ok(seen.messages.length === texts.length && inOrder, 'bidi: every text, in order');
}

async function checkFailures(number) {
  // A status of the server comes through with its message and its trailers, from each kind of call.
  const message = { text: 'x', count: 2, fail_code: grpc.status.FAILED_PRECONDITION };
  for (const [kind, start] of Object.entries(kinds)) {
    const { status } = await start(message, number);
    assert.equal(status.code, grpc.status.FAILED_PRECONDITION, `${kind}: ${status.code} ${status.details}`);
    assert.equal(status.details, 'told to fail with 9', kind);
    assert.equal(status.metadata.get('x-trailer').length, 1, `${kind}: trailers of a failure`);
  }
}

const modes = {
  unary: () => load(['unary']),
  deadline: () => load(['unary']),
  kill: () => load(['unary']),
  all: () => load(['unary', 'clientStream', 'serverStream', 'bidi']),
  'stream-check': async () => {
    const checks = [checkUnary, checkClientStream, checkServerStream, checkPingPong, checkBidi, checkFailures];
    for (const [number, check] of checks.entries()) await check(number);
  },
};

await modes[options.mode]();
client.close();
print(summary);
