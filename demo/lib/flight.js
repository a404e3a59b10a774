// Requests in flight, and whether this server is on its way out.
//
// Node finishes running requests after server.close(), but leaves their connections open for further ones. So each
// response that has no head yet is marked `Connection: close`, and everyone who holds a response open for long (event
// streams) listens for the 'drain' event.

import { EventEmitter } from 'node:events';

export class Flight extends EventEmitter {
  draining = false;
  total = 0;
  #responses = new Set();

  constructor() {
    super();
    this.setMaxListeners(0); // one per open event stream
  }

  get count() {
    return this.#responses.size;
  }

  take(res) {
    this.total += 1;
    this.#responses.add(res);
    if (this.draining) res.setHeader('connection', 'close');
    res.once('close', () => {
      this.#responses.delete(res);
      if (this.count === 0) this.emit('empty');
    });
  }

  // From here on /healthz answers 503 and every answer ends its connection.
  drain() {
    this.draining = true;
    for (const res of this.#responses) {
      if (!res.headersSent) res.setHeader('connection', 'close');
    }
    this.emit('drain');
  }
}
