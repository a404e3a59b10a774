// Starts a small program as Lintel would start a worker: the preload, a bound unix socket as descriptor 3, a control socket.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PRELOAD = fileURLToPath(new URL('../../src/worker/preload.cjs', import.meta.url));
const APPS = fileURLToPath(new URL('apps', import.meta.url));

/** A test that ends in bounded time. */
export const check = (name, body) => test(name, { timeout: 30_000 }, body);

/** What happened so far, and a wait for what has yet to happen. */
class Story {
  told = [];
  #waiting = new Set();

  tell(event) {
    this.told.push(event);
    for (const wait of [...this.#waiting]) wait();
  }

  /** The first event of this kind at or behind a position. */
  until(fits, from = 0) {
    return new Promise((resolve) => {
      const look = () => {
        const found = this.told.slice(from).find(fits);
        if (found === undefined) return;
        this.#waiting.delete(look);
        resolve(found);
      };
      this.#waiting.add(look);
      look();
    });
  }
}

/** Lintel's end of the control socket. */
export class Control extends Story {
  #connections = new Set();

  async open(file) {
    this.server = net.createServer((socket) => {
      this.#connections.add(socket);
      this.tell({ t: 'connection' });
      let text = '';
      socket.setEncoding('utf8').on('data', (piece) => {
        const lines = (text + piece).split('\n');
        text = lines.pop();
        for (const line of lines) this.tell(JSON.parse(line));
      });
      socket.on('error', () => {}).on('close', () => this.#connections.delete(socket));
    });
    this.server.listen(file);
    await once(this.server, 'listening');
    return this;
  }

  message(t, from) {
    return this.until((message) => message.t === t, from);
  }

  has(t) {
    return this.told.some((message) => message.t === t);
  }

  command(cmd) {
    for (const socket of this.#connections) socket.write(`${JSON.stringify({ cmd })}\n`);
  }

  async close() {
    if (!this.server.listening) return;
    const closed = once(this.server, 'close');
    this.server.close();
    for (const socket of this.#connections) socket.destroy();
    await closed;
  }
}

/** A folder that goes away with the test. */
export function folder(t) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'lintel-preload-'));
  t.after(() => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** A listening unix socket of which this process keeps nothing: only the descriptor that the child gets. */
async function boundSocket(file) {
  const server = net.createServer();
  server.listen(`${file}.new`);
  await once(server, 'listening');
  fs.renameSync(`${file}.new`, file); // closing removes the file of the first name
  return server;
}

/** Starts `apps/<app>`. `through` are words before it, such as a wrapper; `socket: 'path'` gives no descriptor. */
export async function start(t, app, { env = {}, through = [], socket = 'descriptor' } = {}) {
  const place = folder(t);
  const at = path.join(place, 'worker.sock');
  const control = await new Control().open(path.join(place, 'control.sock'));
  const listener = await boundSocket(at);
  const output = new Story();
  const child = spawn(process.execPath, [...through, path.join(APPS, app)], {
    cwd: place,
    detached: true, // its own process group, so that nothing of it is left
    stdio: ['pipe', 'pipe', 'pipe', socket === 'descriptor' ? listener._handle.fd : 'ignore'],
    env: {
      PATH: process.env.PATH,
      NODE_OPTIONS: `--require=${PRELOAD}`,
      LINTEL_LISTEN: 'fd:3',
      LINTEL_FALLBACK: at,
      LINTEL_CONTROL: path.join(place, 'control.sock'),
      LINTEL_WORKER: 'api/0/7',
      LINTEL_DRAIN_MS: '20000',
      PLACE: place,
      ...env,
    },
  });
  const exited = once(child, 'exit');
  const closed = once(child, 'close');
  listener.close();
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece) => {
    const lines = (text + piece).split('\n');
    text = lines.pop();
    for (const line of lines) output.tell(line);
  });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (piece) => { complaints += piece; });
  t.after(async () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // The whole group is gone already.
    }
    await closed;
    await control.close();
  });
  return {
    at, place, control, child, output,
    complaints: () => complaints,
    get: (url = '/', options = {}) => get(at, url, options),
    /** The line of the output that starts with this word; what follows it, as JSON. */
    said: async (word) => JSON.parse((await output.until((line) => line.startsWith(`${word} `))).slice(word.length + 1)),
    /** Exit code or signal. Nothing may have been said on stderr. */
    end: async () => {
      const [code, signal] = await exited;
      await closed;
      assert.equal(complaints, '');
      assert.deepEqual(control.told.filter((message) => message.t === 'problem'), []);
      return signal ?? code;
    },
    exited,
  };
}

/** One request over a unix socket. */
export async function get(socketPath, url, { agent = false, headers = {} } = {}) {
  const request = http.get({ socketPath, path: url, agent, headers });
  const [response] = await once(request, 'response');
  response.setEncoding('utf8');
  let text = '';
  for await (const piece of response) text += piece;
  const isJson = /json/.test(response.headers['content-type']);
  return { status: response.statusCode, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
}

/** A request whose body is held back: the program is in the middle of it until `finish`. */
export async function heldRequest(socketPath, options = {}) {
  const request = http.request({ socketPath, path: '/hold', method: 'POST', agent: false, headers: { 'content-length': 4 }, ...options });
  const response = once(request, 'response');
  response.catch(() => {});
  request.on('error', () => {});
  request.write('ab');
  return {
    request,
    finish: async () => {
      request.end('cd');
      const [answer] = await response;
      answer.resume();
      await once(answer, 'end');
      return answer;
    },
  };
}
