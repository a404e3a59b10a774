// Starts demo servers for the tests: real processes on ports that the system chooses. A server started with a test's
// context ends with that test; one started without has to be stopped.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('../server.js', import.meta.url));

const running = new Set();
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')));

export async function startServer(test, env = {}) {
  const child = spawn(process.execPath, [PROGRAM], {
    env: { PATH: process.env.PATH, PORT: '0', DEMO_INDEX: '1', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }));
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  test?.after(stop);
  running.add(child);
  child.once('exit', () => running.delete(child));

  let complaints = '';
  child.stderr.on('data', (piece) => {
    complaints += piece;
  });
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((resolve, reject) => {
    lines.on('line', (line) => {
      const found = line.match(/listening on (http:\S+)/);
      if (found) resolve(found[1]);
    });
    ended.then(() => reject(new Error(`the demo server ended at once: ${complaints}`)));
  });
  return {
    url,
    port: Number(new URL(url).port),
    child,
    ended,
    stop,
    complaints: () => complaints,
    get: (path, options) => fetch(url + path, options),
    json: async (path, options) => (await fetch(url + path, options)).json(),
  };
}

// Tries until `attempt` returns something true, and fails after `ms`.
export async function eventually(what, attempt, ms = 10_000) {
  const deadline = Date.now() + ms;
  for (;;) {
    const result = await attempt();
    if (result) return result;
    if (Date.now() > deadline) throw new Error(`${what} did not happen within ${ms} ms`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
