// What both stages of the composition's test share, and how to ask the front door.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../..', import.meta.url));

const DEADLINE_MS = 60_000;

// Asks until the answer is true; an error counts as not yet, and is told in the end.
export async function eventually(what, ask, deadlineMs = DEADLINE_MS) {
  const until = performance.now() + deadlineMs;
  let last;
  for (;;) {
    try {
      const answer = await ask();
      if (answer) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > until) throw new Error(`waited ${deadlineMs / 1000} s for ${what}`, { cause: last });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export function run(command, args, options = {}) {
  const answer = spawnSync(command, args, { encoding: 'utf8', cwd: root, ...options });
  if (answer.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${answer.error?.message ?? answer.stderr}`);
  return answer.stdout;
}

// A client with no cookies but those given, whose connections are kept alive unless told otherwise.
export function clientOf(stage) {
  const ca = readFileSync(stage.ca);
  const agent = new https.Agent({ ca, keepAlive: true, servername: stage.servername });
  const ask = (path, { method = 'GET', headers = {}, body, deadlineMs = 20_000 } = {}) =>
    new Promise((resolve, reject) => {
      const request = https.request(new URL(path, stage.front), { method, headers, agent });
      request.setTimeout(deadlineMs, () => request.destroy(new Error(`${path}: no answer in ${deadlineMs} ms`)));
      request.on('error', reject);
      request.on('response', async (response) => {
        try {
          const chunks = await response.toArray();
          const text = Buffer.concat(chunks).toString();
          resolve({ status: response.statusCode, headers: response.headers, text, json: () => JSON.parse(text) });
        } catch (error) {
          reject(error);
        }
      });
      request.end(body);
    });
  return { ask, agent, ca };
}

export const cookiesOf = (answer) =>
  Object.fromEntries((answer.headers['set-cookie'] ?? []).map((line) => line.split(';')[0].split(/=(.*)/s).slice(0, 2)));
