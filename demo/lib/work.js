// Three kinds of slow, which look alike from outside and are not:
//   /slow   waits, as for a database; the event loop is free
//   /block  blocks the event loop; every other request to this server waits (do not do this at home)
//   /cpu    computes in a worker thread; the loop is free, and the queue for threads is bounded

import { setTimeout as sleep } from 'node:timers/promises';

import { Router } from 'express';

import { QueueFull } from './cpu-pool.js';
import { wholeNumber } from './query.js';

export function workRoutes({ settings, cpuPool }) {
  const router = Router();
  const { index } = settings;

  router.get('/slow', async (req, res) => {
    const ms = wholeNumber(req, 'ms', { fallback: 1000, most: 60_000 });
    const gone = goneSignal(res);
    try {
      await sleep(ms, undefined, { signal: gone });
    } catch (error) {
      if (gone.aborted) return;
      throw error;
    }
    res.json({ index, slept: ms });
  });

  router.get('/block', (req, res) => {
    const ms = wholeNumber(req, 'ms', { fallback: 1000, most: 5_000 });
    // Blocks like a busy loop would, but leaves the core to others, so that one machine can run the whole demo.
    if (ms > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
    res.json({ index, blocked: ms });
  });

  router.get('/cpu', async (req, res) => {
    const ms = wholeNumber(req, 'ms', { fallback: 500, most: 5_000 });
    const gone = goneSignal(res);
    try {
      const { rounds, threadId } = await cpuPool.run({ ms }, gone);
      res.json({ index, computed: ms, rounds, threadId });
    } catch (error) {
      if (gone.aborted) return;
      if (!(error instanceof QueueFull)) throw error;
      res.status(503).set('retry-after', '1').json({ index, error: 'every worker thread is busy and the queue is full' });
    }
  });
  return router;
}

// Aborts when the client leaves before its answer is complete, so that nobody works for nobody.
function goneSignal(res) {
  const controller = new AbortController();
  res.once('close', () => {
    if (!res.writableFinished) controller.abort();
  });
  return controller.signal;
}
