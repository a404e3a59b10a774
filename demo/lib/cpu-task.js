// Runs in a worker thread: hashes for a given time.

import { createHash } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { threadId } from 'node:worker_threads';

export default function compute({ ms }) {
  const end = performance.now() + ms;
  let digest = Buffer.alloc(32);
  let rounds = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 100; i += 1) digest = createHash('sha256').update(digest).digest();
    rounds += 100;
  }
  return { rounds, threadId, digest: digest.toString('hex') };
}
