// A few worker threads for computing, with a bounded queue before them: beyond it the honest answer is "not now".

import { Piscina } from 'piscina';

export class QueueFull extends Error {}

export class CpuPool {
  #threads;
  #queue;
  #taken = 0; // computing and waiting
  #pool = null; // made by the first task: an idle demo pays for no threads

  constructor({ threads, queue }) {
    this.#threads = Math.max(1, threads);
    this.#queue = queue;
  }

  get waiting() {
    return Math.max(0, this.#taken - this.#threads);
  }

  // Counts for itself: the maxQueue of Piscina 5.3 does not hold for tasks with a signal, which wait in a second queue.
  async run(task, signal) {
    if (this.#taken >= this.#threads + this.#queue) throw new QueueFull();
    this.#pool ??= new Piscina({
      filename: new URL('./cpu-task.js', import.meta.url).href,
      minThreads: this.#threads, // an aborted task takes its thread with it, and only this brings a new one
      maxThreads: this.#threads,
    });
    this.#taken += 1;
    try {
      return await this.#pool.run(task, { signal });
    } finally {
      this.#taken -= 1;
    }
  }

  async close() {
    await this.#pool?.destroy();
  }
}
