// Runs the soak: three servers and an app with two workers behind one Lintel, requests at a fixed rate, faults in turn, a
// sample every few seconds. Counts what a client may not see: wrong bytes, POSTs executed twice, GETs that failed though
// a server lived. Limits: 500 requests a second, a week.

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createWriteStream, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import { createRequire } from 'node:module';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { draw, judge, parse } from './plot.mjs';

const { WebSocket } = createRequire(new URL('../../demo/package.json', import.meta.url))('ws');
const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, '../..');

const AT_ONCE = 300;
// Long, since a machine that is busy with other things is no fault of Lintel's.
const DEADLINE_MS = 60_000;
// What the clients are late by is made up for at most this far: they and Lintel share a machine, and after a stall of theirs
// hundreds of requests in one moment would be another test.
const LATE_MS = 250;

const { values: options } = parseArgs({
  options: {
    hours: { type: 'string' },
    minutes: { type: 'string' },
    rate: { type: 'string', default: '100' },
    sockets: { type: 'string', default: '20' },
    every: { type: 'string', default: '5' },
    out: { type: 'string', default: path.join(root, 'target/soak') },
    plot: { type: 'boolean', default: false },
    publish: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(`scripts/soak [--hours N | --minutes N] [--rate N] [--sockets N] [--every SECONDS] [--out FOLDER] [--plot] [--publish]

  --hours, --minutes  how long (8 hours); Ctrl-C ends it early, with its plot and verdict
  --rate              requests a second (100): GETs, POSTs, downloads, HTTP/2, requests given up half-way
  --sockets           WebSockets open at once, each for up to a minute (20)
  --every             seconds between two samples (5)
  --out               where samples.csv, plot.svg and Lintel's logs go (target/soak)
  --plot              measures nothing, draws and judges the samples that are there
  --publish           writes docs/soak.svg too

Exit code 1 where something grew, a body was wrong, a POST was executed twice, a GET failed, or Lintel ended.`);
  process.exit(0);
}

const seconds = options.hours ? Number(options.hours) * 3600 : Number(options.minutes ?? 480) * 60;
const rate = Math.min(500, Number(options.rate));
const samplesPath = path.join(options.out, 'samples.csv');
const count = { get: 0, post: 0, download: 0, http2: 0, given_up: 0, message: 0, worker: 0, again: 0, skipped: 0 };
const failed = { get: 0, post: 0, cut: 0, http2: 0, socket: 0, wrong: 0, twice: 0 };
const why = new Map();
const orders = { reload: 0, rollout: 0, kill: 0, stop: 0, resets: 0, refused: 0 };
let ending = false;

if (options.plot) process.exit(report());

// -- the servers

const executed = [new Set(), new Set()];
function onMessage(message) {
  if (!message.executed) return;
  if (executed.some((ids) => ids.has(message.executed))) failed.twice += 1;
  executed[0].add(message.executed);
  // Two generations: a POST that is repeated is so within minutes.
  if (executed[0].size > 100_000) executed.splice(0, 2, new Set(), executed[0]);
}

class Server {
  port = 0;

  async start() {
    this.child = spawn(process.execPath, [path.join(here, 'server.mjs')], {
      env: { ...process.env, SOAK_PORT: String(this.port) },
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    const { port } = await new Promise((resolve) => this.child.once('message', resolve));
    this.port = port;
    this.child.on('message', onMessage);
  }

  async kill() {
    const over = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await over;
  }
}

const servers = [new Server(), new Server(), new Server()];

// -- Lintel

function config(turn) {
  const addresses = servers.map((server, nth) => `{ address: "127.0.0.1:${server.port}", weight: ${1 + ((turn + nth) % 2)} }`);
  return `listeners:
  http: { address: "127.0.0.1:0" }
  h2c: { address: "127.0.0.1:0", protocols: [http2] }
pools:
  web:
    servers: [${addresses.join(', ')}]
    health_check: { path: /health, interval: 1s, timeout: 500ms, healthy_after: 1, unhealthy_after: 2 }
    retries: { attempts: 2, on: [connect_failure, reset, timeout], budget: 100% }
    timeouts: { connect: 1s, response: 3s, body_idle: 5s }
  app:
    app: { command: "node ${path.join(here, 'server.mjs')}", instances: 2, stop: { timeout: 5s } }
    timeouts: { response: 10s }
policies:
  mark: [{ headers: { response: { set: { x-turn: "${turn}" } } } }]
routes:
  - { name: app, match: { path: /app/* }, to: app }
  - { name: web, to: web, policies: [mark] }
observability:
  access_log: { path: access.log, format: json }
  log: { format: json }
  metrics: { address: "127.0.0.1:0" }
runtime: { drain_timeout: 10s, state_directory: ./state, run_directory: ./run }
`;
}

const lintel = { address: {}, ended: false };
async function startLintel() {
  writeFileSync(path.join(options.out, 'lintel.yaml'), config(0));
  const child = spawn(process.env.LINTEL, ['run', '-c', 'lintel.yaml'], { cwd: options.out, stdio: ['ignore', 'ignore', 'pipe'] });
  lintel.child = child;
  child.on('exit', (code, signal) => {
    lintel.ended = true;
    if (!ending) console.error(`Lintel ended: ${code ?? signal}`);
  });
  const log = createWriteStream(path.join(options.out, 'lintel.log'));
  const ready = new Promise((resolve, reject) => {
    child.once('exit', () => reject(new Error('Lintel ended before it was ready, see lintel.log')));
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.write(`${line}\n`);
      const record = JSON.parse(line);
      const field = (name) => record[name] ?? record.fields?.[name];
      if (field('message') === 'listening') lintel.address[field('listener')] = field('address');
      if (field('message') === 'ready') resolve();
    });
  });
  await ready;
}

function order(...words) {
  return new Promise((resolve) => {
    const child = spawn(process.env.LINTEL, [...words, '-c', 'lintel.yaml'], { cwd: options.out, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr.on('data', (piece) => { said += piece; });
    child.on('exit', (code) => {
      if (code !== 0) {
        orders.refused += 1;
        note(`${words[0]}: ${said.trim().split('\n')[0]}`);
      }
      resolve();
    });
  });
}

// -- the traffic

const agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });
let running = 0;
let posts = 0;

function note(reason) {
  why.set(reason, (why.get(reason) ?? 0) + 1);
}

/** One request by HTTP/1.1: the status, the fields and the whole body; throws where the body was cut off. */
function ask(method, target, { headers = {}, body, giveUpAfter, connection = agent } = {}) {
  const [hostname, port] = lintel.address.http.split(':');
  return new Promise((resolve, reject) => {
    const request = http.request({ hostname, port, method, path: target, headers, agent: connection, signal: AbortSignal.timeout(DEADLINE_MS) });
    let answered = false;
    request.on('error', (error) => {
      const unanswered = request.reusedSocket && !answered && ['ECONNRESET', 'EPIPE'].includes(error.code);
      reject(Object.assign(error, { unanswered }));
    });
    request.on('response', (response) => {
      answered = true;
      const pieces = [];
      let length = 0;
      response.on('data', (piece) => {
        pieces.push(piece);
        length += piece.length;
        if (length > giveUpAfter) request.destroy(new Error('given up'));
      });
      response.on('error', (error) => reject(Object.assign(error, { cut: true })));
      response.on('end', () => resolve({ status: response.statusCode, fields: response.headers, body: Buffer.concat(pieces) }));
    });
    request.end(body);
  });
}

function isWhole(answer, size) {
  return answer.body.length === size && createHash('sha256').update(answer.body).digest('hex') === answer.fields['x-digest'];
}

/** A GET; once more, on a new connection, where a kept one was closed as it was sent, as clients do (RFC 9112 section 9.3.1). */
function get(target) {
  return ask('GET', target).catch((error) => {
    if (!error.unanswered) throw error;
    count.again += 1;
    return ask('GET', target, { connection: false });
  });
}

async function getBytes(kind, target, size) {
  count[kind] += 1;
  try {
    const answer = await get(`${target}/${size}`);
    if (answer.status !== 200) {
      failed.get += 1;
      note(`${kind} ${answer.status}`);
    } else if (!isWhole(answer, size)) failed.wrong += 1;
  } catch (error) {
    // Cut in its body: the client sees it, and nobody can send the rest.
    failed[error.cut ? 'cut' : 'get'] += 1;
    note(`${kind} ${error.cut ? 'cut' : error.code ?? error.message}`);
  }
}

async function post() {
  count.post += 1;
  posts += 1;
  const body = randomBytes(1 + Math.floor(Math.random() * 20_000));
  try {
    const answer = await ask('POST', '/echo', { body, headers: { 'x-id': `${process.pid}-${posts}`, 'content-length': body.length } });
    if (answer.status !== 200) failed.post += 1;
    else if (!answer.body.equals(body)) failed.wrong += 1;
  } catch {
    failed.post += 1;
  }
}

async function giveUp() {
  count.given_up += 1;
  await ask('GET', '/bytes/4000000', { giveUpAfter: 100_000 }).catch(() => {});
}

let session;
async function getByHttp2() {
  count.http2 += 1;
  if (!session || session.closed || session.destroyed) {
    session = http2.connect(`http://${lintel.address.h2c}`);
    session.on('error', () => {});
    // A connection is used for a while and then another one, as browsers do.
    setTimeout((old) => old.close(), 20_000, session).unref();
  }
  const size = 5000;
  try {
    const answer = await new Promise((resolve, reject) => {
      const stream = session.request({ ':path': `/bytes/${size}` });
      stream.setTimeout(DEADLINE_MS, () => stream.destroy(new Error('deadline')));
      const pieces = [];
      let fields;
      stream.on('response', (head) => { fields = head; });
      stream.on('data', (piece) => pieces.push(piece));
      stream.on('error', reject);
      stream.on('end', () => {
        if (fields) resolve({ status: fields[':status'], fields, body: Buffer.concat(pieces) });
      });
      stream.on('close', () => reject(Object.assign(new Error('cut'), { cut: Boolean(fields) })));
    });
    if (answer.status !== 200) {
      failed.http2 += 1;
      note(`http2 ${answer.status}`);
    } else if (!isWhole(answer, size)) failed.wrong += 1;
  } catch (error) {
    failed[error.cut ? 'cut' : 'http2'] += 1;
    note(`http2 ${error.cut ? 'cut' : error.code ?? error.message}`);
  }
}

async function talk() {
  while (!ending && !lintel.ended) {
    const socket = new WebSocket(`ws://${lintel.address.http}/ws`);
    const until = Date.now() + Math.random() * 60_000;
    await new Promise((resolve) => {
      let expected;
      const say = () => {
        if (ending || Date.now() > until) return socket.close();
        expected = randomBytes(1 + Math.floor(Math.random() * 2000)).toString('base64');
        return socket.send(expected);
      };
      // What sits on a stopped server would never end by itself.
      const limit = setTimeout(() => socket.terminate(), 90_000);
      socket.on('open', say);
      socket.on('message', (text) => {
        count.message += 1;
        if (String(text) !== expected) failed.wrong += 1;
        setTimeout(say, 500);
      });
      socket.on('error', () => { failed.socket += 1; });
      socket.on('close', () => {
        clearTimeout(limit);
        resolve();
      });
    });
    await sleep(200);
  }
}

function one() {
  const dice = Math.random();
  if (dice < 0.45) return getBytes('get', '/bytes', Math.floor(Math.random() * 20_000));
  if (dice < 0.65) return post();
  if (dice < 0.67) return getBytes('download', '/bytes', 1_000_000 + Math.floor(Math.random() * 1_000_000));
  if (dice < 0.69) return giveUp();
  if (dice < 0.85) return getByHttp2();
  count.worker += 1;
  return getBytes('get', '/app/bytes', Math.floor(Math.random() * 20_000));
}

async function traffic() {
  const began = Date.now();
  let sent = 0;
  while (!ending) {
    const due = ((Date.now() - began) / 1000) * rate;
    const late = Math.floor(due - sent - (LATE_MS / 1000) * rate);
    if (late > 0) {
      count.skipped += late;
      sent += late;
    }
    for (; sent < due; sent += 1) {
      if (running >= AT_ONCE) count.skipped += 1;
      else {
        running += 1;
        one().finally(() => { running -= 1; });
      }
    }
    await sleep(10);
  }
}

// -- the faults, one at a time

async function faults() {
  for (let turn = 1; !ending; turn += 1) {
    const server = servers[turn % 3];
    const what = ['reload', 'kill', 'rollout', 'stop', 'resets'][turn % 5];
    orders[what] += 1;
    if (what === 'reload') {
      writeFileSync(path.join(options.out, 'lintel.yaml'), config(turn));
      await order('reload');
    } else if (what === 'rollout') {
      await order('rollout', 'app');
    } else if (what === 'kill') {
      await server.kill();
      await sleep(3000);
      await server.start();
    } else if (what === 'stop') {
      server.child.kill('SIGSTOP');
      await sleep(4000);
      server.child.kill('SIGCONT');
    } else {
      server.child.send({ resets: true });
      await sleep(3000);
      server.child.send({ resets: false });
    }
    await sleep(7000);
  }
}

// -- the samples

async function metric(name) {
  const answer = await fetch(`http://${lintel.address.metrics}/metrics`);
  const text = await answer.text();
  return text.split('\n').filter((line) => line.startsWith(name)).reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

async function sampling() {
  writeFileSync(samplesPath, 'seconds,rss_mib,descriptors,threads,exchanges,requests\n');
  const began = Date.now();
  let before = 0;
  while (!ending) {
    await sleep(Number(options.every) * 1000);
    if (ending || lintel.ended) break;
    const proc = `/proc/${lintel.child.pid}`;
    const status = readFileSync(`${proc}/status`, 'utf8');
    const number = (name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1] ?? 0);
    const total = count.get + count.post + count.download + count.http2 + count.given_up;
    const row = [
      ((Date.now() - began) / 1000).toFixed(1),
      (number('VmRSS') / 1024).toFixed(2),
      readdirSync(`${proc}/fd`).length,
      number('Threads'),
      await metric('lintel_server_in_flight').catch(() => 0),
      ((total - before) / Number(options.every)).toFixed(1),
    ];
    before = total;
    writeFileSync(samplesPath, `${row.join(',')}\n`, { flag: 'a' });
  }
}

// -- the end

function report() {
  const rows = parse(readFileSync(samplesPath, 'utf8'));
  const minutes = ((rows.at(-1)?.seconds ?? 0) / 60).toFixed(0);
  const title = `Soak of ${minutes} minutes: mixed traffic, reloads, rollouts, servers that fail`;
  const svg = draw(rows, title);
  writeFileSync(path.join(options.out, 'plot.svg'), svg);
  if (options.publish) writeFileSync(path.join(root, 'docs/soak.svg'), svg);
  const verdicts = judge(rows);
  console.log(`\n${title}; ${rows.length} samples in ${samplesPath}`);
  for (const { title: name, early, late, slope, flat } of verdicts) {
    console.log(`  ${name.padEnd(42)} ${early} -> ${late}, ${slope >= 0 ? '+' : ''}${slope.toFixed(2)} an hour: ${flat ? 'flat' : 'GROWS'}`);
  }
  return verdicts.every((verdict) => verdict.flat) ? 0 : 1;
}

async function main() {
  rmSync(options.out, { recursive: true, force: true });
  for (const folder of ['state', 'run']) mkdirSync(path.join(options.out, folder), { recursive: true });
  await Promise.all(servers.map((server) => server.start()));
  await startLintel();
  console.log(`Lintel ${lintel.child.pid} at ${lintel.address.http}: ${rate} requests a second for ${seconds / 60} minutes`);
  process.on('SIGINT', () => { ending = true; });
  process.on('SIGTERM', () => { ending = true; });
  const parts = [traffic(), faults(), sampling(), ...Array.from({ length: Number(options.sockets) }, talk)];
  const until = Date.now() + seconds * 1000;
  while (!ending && !lintel.ended && Date.now() < until) await sleep(500);
  const early = lintel.ended;
  ending = true;
  await Promise.race([Promise.all(parts), sleep(30_000)]);
  if (!lintel.ended) {
    const over = new Promise((resolve) => lintel.child.once('exit', resolve));
    lintel.child.kill('SIGTERM');
    console.log(`exit code of Lintel: ${await over}`);
  }
  for (const server of servers) server.child.kill('SIGKILL');
  console.log('done', JSON.stringify(count), '\nfaults', JSON.stringify(orders), '\nfailed', JSON.stringify(failed));
  if (why.size) console.log('why', JSON.stringify(Object.fromEntries(why)));
  const code = report();
  process.exit(early || failed.wrong || failed.twice || failed.get || failed.http2 ? 1 : code);
}

await main();
