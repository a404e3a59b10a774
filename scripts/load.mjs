// Drives mixed traffic at the demo and shows how it fares: pages over HTTP/2; the API, CPU work and sessions over
// HTTP/1.1; Socket.IO and WebSockets beside them. Requests come at a fixed rate, whether answers come or not, as those of
// people do. Limits: 2,000 requests a second, 500 at once, an hour.

import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { createRequire } from 'node:module';
import net from 'node:net';
import { parseArgs } from 'node:util';

const demo = createRequire(new URL('../demo/package.json', import.meta.url));
const { io } = demo('socket.io-client');
const { WebSocket } = demo('ws');

const AT_ONCE = 500;
const DEADLINE_MS = 15_000;
const BROWSERS = 20;

const { values: options } = parseArgs({
  options: {
    url: { type: 'string', default: 'https://localhost:8443' },
    ca: { type: 'string' },
    rate: { type: 'string', default: '150' },
    seconds: { type: 'string', default: '300' },
    sockets: { type: 'string', default: '20' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(`scripts/load [--url URL] [--rate N] [--seconds N] [--sockets N] [--ca FILE] [--json]

  --url      where the demo is (https://localhost:8443); this machine or a private network, no other
  --rate     requests a second (150)
  --seconds  how long (300)
  --sockets  Socket.IO clients, and as many WebSockets (20)
  --ca       the authority that signed the certificate, to have it verified
  --json     one line of JSON at the end in place of all else

Exit code 1 if requests failed. 503 from /cpu is no failure: it is how the demo says that its threads are busy.`);
  process.exit(0);
}

const base = new URL(options.url);
const rate = bounded('rate', 1, 2000);
const seconds = bounded('seconds', 1, 3600);
const socketCount = bounded('sockets', 0, 500);
const tls = base.protocol === 'https:' ? trust() : {};
const agent = base.protocol === 'https:'
  ? new https.Agent({ keepAlive: true, maxSockets: AT_ONCE, ...tls })
  : new http.Agent({ keepAlive: true, maxSockets: AT_ONCE });
await refuseStrangers();

// -- what is counted

class Tally {
  count = 0;
  failed = 0;
  busy = 0;
  #buckets = new Map(); // upper bound in ms, 5 % apart -> how many

  add(ms) {
    this.count += 1;
    const bound = 1.05 ** Math.ceil(Math.log(Math.max(ms, 0.1)) / Math.log(1.05));
    this.#buckets.set(bound, (this.#buckets.get(bound) ?? 0) + 1);
  }

  percentile(share) {
    const total = [...this.#buckets.values()].reduce((sum, count) => sum + count, 0);
    let seen = 0;
    for (const [bound, count] of [...this.#buckets].sort(([a], [b]) => a - b)) {
      seen += count;
      if (seen >= share * total) return bound;
    }
    return 0;
  }
}

const kinds = ['page', 'api', 'cpu', 'session'];
const tallies = Object.fromEntries(kinds.map((kind) => [kind, new Tally()]));
const whole = new Tally();
let moment = new Tally(); // since the last line
const errors = new Map(); // text -> how often
const sockets = { socketIo: 0, webSockets: 0, messages: 0, lost: 0 };
let inFlight = 0;
let dropped = 0; // requests that were not begun, with AT_ONCE on their way
let stopping = false;

function fail(kind, text) {
  tallies[kind].failed += 1;
  whole.failed += 1;
  moment.failed += 1;
  if (errors.size < 20 || errors.has(text)) errors.set(text, (errors.get(text) ?? 0) + 1);
}

// -- requests

const browsers = Array.from({ length: BROWSERS }, () => ({ cookies: new Map(), visits: 0, busy: false }));
const pick = (list) => list[Math.floor(Math.random() * list.length)];
const between = (low, high) => Math.floor(low + Math.random() * (high - low));

const actions = {
  page: () => askByHttp2(pick(['/', '/page.css', '/page.js', '/draw.js', '/lintel.svg'])),
  api: () => pick([
    () => ask('GET', '/whoami'),
    () => ask('GET', '/healthz'),
    () => ask('GET', `/slow?ms=${between(5, 120)}`),
    () => ask('GET', `/bytes?n=${between(100, 20_000)}`),
    () => ask('POST', '/echo', { body: Buffer.alloc(between(10, 4000), 'x') }),
  ])(),
  cpu: () => ask('GET', `/cpu?ms=${between(2, 15)}`),
  session: visit,
};

// One request at a time per browser, as the number of visits has to grow by one each time, whoever answers.
async function visit() {
  const browser = browsers.find(({ busy }) => !busy);
  if (!browser) return ask('GET', '/whoami');
  browser.busy = true;
  try {
    const cookie = [...browser.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await ask('GET', '/session', { headers: cookie ? { cookie } : {} });
    for (const line of answer.headers['set-cookie'] ?? []) {
      const [name, value] = line.split(';')[0].split(/=(.*)/s);
      browser.cookies.set(name, value);
    }
    if (answer.status !== 200) return answer;
    const { visits } = JSON.parse(answer.body);
    // A request that was retried may have counted twice.
    if (visits <= browser.visits) throw new Error(`a session went back from ${browser.visits} visits to ${visits}`);
    browser.visits = visits;
    return answer;
  } finally {
    browser.busy = false;
  }
}

function ask(method, path, { headers = {}, body } = {}) {
  return new Promise((resolve, reject) => {
    const request = (base.protocol === 'https:' ? https : http).request(new URL(path, base), { method, headers, agent, ...tls });
    const timer = setTimeout(() => request.destroy(new Error(`no answer in ${DEADLINE_MS / 1000} s`)), DEADLINE_MS);
    request.once('close', () => clearTimeout(timer));
    request.on('error', (error) => reject(named(error, `${method} ${path}`)));
    request.on('response', (response) => {
      const chunks = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('error', (error) => reject(named(error, `${method} ${path}`)));
      response.on('end', () => {
        if (!response.complete) return reject(named(new Error('cut short'), `${method} ${path}`));
        return resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() });
      });
    });
    request.end(body);
  });
}

let session; // of HTTP/2, as one browser has it
function askByHttp2(path) {
  if (base.protocol !== 'https:') return ask('GET', path);
  if (!session || session.closed || session.destroyed) {
    const opened = http2.connect(base, tls);
    opened.on('error', () => {});
    opened.once('goaway', () => session === opened && (session = undefined));
    opened.unref();
    session = opened;
  }
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':path': path }, { endStream: true });
    stream.setTimeout(DEADLINE_MS, () => stream.close(http2.constants.NGHTTP2_CANCEL));
    let head;
    let size = 0;
    stream.on('response', (headers) => (head = headers));
    stream.on('data', (chunk) => (size += chunk.length));
    stream.on('error', (error) => reject(named(error, `GET ${path} by HTTP/2`)));
    stream.on('close', () => {
      if (head && stream.rstCode === 0) resolve({ status: head[':status'], headers: head, body: '', size });
      else reject(named(new Error(head ? 'cut short' : 'no answer'), `GET ${path} by HTTP/2`));
    });
  });
}

const named = (error, what) => new Error(`${what.replace(/[0-9]+/g, 'N')}: ${error.code ?? error.message}`);

async function run(kind) {
  if (inFlight >= AT_ONCE) {
    dropped += 1;
    return;
  }
  inFlight += 1;
  const began = performance.now();
  try {
    const answer = await actions[kind]();
    if (kind === 'cpu' && answer.status === 503 && answer.headers['retry-after'] && answer.body.includes('queue is full')) {
      tallies.cpu.busy += 1;
    } else if (answer.status >= 400) {
      fail(kind, `status ${answer.status}`);
    }
  } catch (error) {
    if (!stopping) fail(kind, error.message);
  } finally {
    inFlight -= 1;
    const ms = performance.now() - began;
    for (const tally of [tallies[kind], whole, moment]) tally.add(ms);
  }
}

// -- sockets: they come back when they are lost, and say something twice a second

const ends = [];

function openSocketIo(number) {
  const socket = io(base.href, {
    ...tls, forceNew: true, auth: { name: `load-${number}` }, reconnectionDelay: 200, reconnectionDelayMax: 1000, ...agentOf(),
  });
  let open = false;
  socket.on('connect', () => (open = true, sockets.socketIo += 1));
  socket.on('disconnect', () => {
    if (open) sockets.socketIo -= 1;
    if (open && !stopping) sockets.lost += 1;
    open = false;
  });
  const timer = setInterval(() => {
    if (socket.connected) socket.timeout(DEADLINE_MS).emit('ping-server', (error) => error || (sockets.messages += 1));
  }, 500 + number);
  if (number % 5 === 0) {
    const talk = setInterval(() => socket.connected && socket.emit('say', `hello, it is ${new Date().toLocaleTimeString()}`), 5000);
    ends.push(() => clearInterval(talk));
  }
  ends.push(() => clearInterval(timer), () => socket.close());
}

// Polling has connections of its own, which end with it.
const agentOf = () => (base.protocol === 'https:' ? { agent: new https.Agent({ keepAlive: true, ...tls }) } : {});

function openWebSocket(number) {
  let socket;
  let timer;
  const open = () => {
    if (stopping) return;
    socket = new WebSocket(new URL(`/ws?room=load-${number}`, base.href.replace(/^http/, 'ws')), tls);
    let isOpen = false;
    socket.on('open', () => (isOpen = true, sockets.webSockets += 1));
    socket.on('message', () => (sockets.messages += 1));
    socket.on('error', () => {});
    socket.on('close', () => {
      if (isOpen) sockets.webSockets -= 1;
      if (isOpen && !stopping) sockets.lost += 1;
      if (!stopping) timer = setTimeout(open, between(100, 600));
    });
  };
  const talk = setInterval(() => socket.readyState === WebSocket.OPEN && socket.send(`message at ${Date.now()}`), 500 + number);
  ends.push(() => clearInterval(talk), () => clearTimeout(timer), () => socket.terminate());
  open();
}

// -- the course of it

const began = performance.now();
const elapsed = () => (performance.now() - began) / 1000;
const isTerminal = process.stdout.isTTY && !options.json;
const ms = (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value < 10 ? value.toFixed(1) : value.toFixed(0)} ms`);

function line() {
  const per = moment.count / (isTerminal ? 1 : 10);
  return [
    `${elapsed().toFixed(0).padStart(4)} s`,
    `${per.toFixed(0).padStart(4)}/s`,
    `median ${ms(moment.percentile(0.5)).padStart(6)}`,
    `99 % ${ms(moment.percentile(0.99)).padStart(6)}`,
    `failed ${whole.failed}`,
    `in flight ${inFlight}`,
    `Socket.IO ${sockets.socketIo}`,
    `WebSockets ${sockets.webSockets}`,
    ...(sockets.lost ? [`lost ${sockets.lost}`] : []),
  ].join('  ');
}

function show() {
  if (isTerminal) process.stdout.write(`\r\x1b[2K${line().slice(0, (process.stdout.columns ?? 100) - 1)}`);
  else if (!options.json) console.log(line());
  moment = new Tally();
}

if (!options.json) console.log(`${rate} requests a second at ${base.href} for ${seconds} s, with ${socketCount} Socket.IO clients and as many WebSockets. Ctrl-C ends it.`);
for (let number = 0; number < socketCount; number += 1) {
  openSocketIo(number);
  openWebSocket(number);
}
// Of 20 requests: 8 pages, 7 of the API, 1 for the CPU, 4 of sessions.
const mix = ['page', 'api', 'session', 'page', 'api', 'page', 'api', 'page', 'session', 'api', 'cpu', 'page', 'api', 'page', 'session', 'api', 'page', 'api', 'page', 'session'];
let sent = 0;
const drive = setInterval(() => {
  for (const due = Math.min(elapsed(), seconds) * rate; sent < due; sent += 1) run(mix[sent % mix.length]);
}, 10);
const clock = setInterval(show, isTerminal ? 1000 : 10_000);
await new Promise((resolve) => {
  setTimeout(resolve, seconds * 1000);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, resolve);
});

clearInterval(drive);
clearInterval(clock);
// What is on its way may end.
for (const deadline = performance.now() + DEADLINE_MS; inFlight > 0 && performance.now() < deadline;) {
  await new Promise((resolve) => setTimeout(resolve, 20));
}
const open = { ...sockets };
stopping = true;
for (const end of ends) end();
session?.destroy();
agent.destroy();
report();

function report() {
  if (options.json) {
    console.log(JSON.stringify({
      seconds: Number(elapsed().toFixed(1)), requests: whole.count, failed: whole.failed, dropped, busy: tallies.cpu.busy,
      medianMs: Number(whole.percentile(0.5).toFixed(1)), p99Ms: Number(whole.percentile(0.99).toFixed(1)),
      errors: Object.fromEntries(errors), sockets: open,
      kinds: Object.fromEntries(kinds.map((kind) => [kind, { requests: tallies[kind].count, failed: tallies[kind].failed }])),
    }));
  } else {
    if (isTerminal) process.stdout.write('\r\x1b[2K');
    console.log(`\n${'kind'.padEnd(8)} ${'requests'.padStart(9)} ${'failed'.padStart(7)} ${'median'.padStart(8)} ${'99 %'.padStart(8)}`);
    for (const [name, tally] of [...Object.entries(tallies), ['all', whole]]) {
      console.log(`${name.padEnd(8)} ${String(tally.count).padStart(9)} ${String(tally.failed).padStart(7)} ${ms(tally.percentile(0.5)).padStart(8)} ${ms(tally.percentile(0.99)).padStart(8)}`);
    }
    console.log(`\n${open.messages} messages over sockets, ${open.lost} sockets lost and opened anew, ${tallies.cpu.busy} times the CPU's threads were busy`);
    if (dropped) console.log(`${dropped} requests were not sent: ${AT_ONCE} were on their way`);
    for (const [text, count] of errors) console.log(`${String(count).padStart(6)} x ${text}`);
  }
  process.exit(whole.failed > 0 ? 1 : 0);
}

// -- arguments

function bounded(name, least, most) {
  const value = Number(options[name]);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  return quit(`--${name} must be a whole number from ${least} to ${most}, not "${options[name]}"`);
}

// The authority that signed the certificate is in certs-dev/ or, of docker-compose.yml, in a volume. Nothing secret is
// said here, and nothing is asked of anyone but one's own, so any certificate will do unless told otherwise.
function trust() {
  return options.ca ? { ca: readFileSync(options.ca) } : { rejectUnauthorized: false };
}

// This makes load, and that is only welcome on what is one's own.
async function refuseStrangers() {
  const own = new net.BlockList();
  own.addSubnet('127.0.0.0', 8);
  own.addSubnet('10.0.0.0', 8);
  own.addSubnet('172.16.0.0', 12);
  own.addSubnet('192.168.0.0', 16);
  own.addAddress('::1', 'ipv6');
  own.addSubnet('fc00::', 7, 'ipv6');
  const host = base.hostname.replace(/^\[|\]$/g, '');
  const { address, family } = await lookup(host).catch((error) => quit(`${host}: ${error.code}`));
  if (!own.check(address, family === 6 ? 'ipv6' : 'ipv4')) quit(`${host} (${address}) is no machine of this one's own network`);
}

function quit(message) {
  console.error(`load: ${message}`);
  process.exit(2);
}
