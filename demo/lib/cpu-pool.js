// A few worker threads for computing, with a bounded queue before them: beyond it the honest answer is "not now".

import { Piscina } from 'piscina';

export class QueueFull extends Error {}

export class CpuPool {
  #pool;

  constructor({ threads, queue }) {
    this.#pool = new Piscina({
      filename: new URL('./cpu-task.js', import.meta.url).href,
      minThreads: 0, // the first task pays for its thread; an idle demo pays for none
      maxThreads: Math.max(1, threads),
      maxQueue: queue,
      idleTimeout: 30_000,
    });
  }

  get waiting() {
    return this.#pool.queueSize;
  }

  async run(task, signal) {
    try {
      return await this.#pool.run(task, { signal });
    } catch (error) {
      if (/queue is at limit/i.test(error.message)) throw new QueueFull(error.message, { cause: error });
      throw error;
    }
  }

  async close() {
    await this.#pool.destroy();
  }
}
