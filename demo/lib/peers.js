// Chat between servers without Redis: each message is posted to the other servers. Good enough for a demo on one
// machine; a message for a server that is down is lost.

import { timingSafeEqual } from 'node:crypto';

import express, { Router } from 'express';

const KEY_HEADER = 'x-demo-peer-key';

export class Peers {
  #settings;
  #deliver;

  constructor(settings, deliver) {
    this.#settings = settings;
    this.#deliver = deliver;
  }

  send(message) {
    const { peers, peerKey } = this.#settings;
    if (!peerKey) return;
    for (const peer of peers) {
      fetch(new URL('/peer/message', peer), {
        method: 'POST',
        headers: { 'content-type': 'application/json', [KEY_HEADER]: peerKey },
        body: JSON.stringify(message),
        signal: AbortSignal.timeout(5000),
      }).then((answer) => answer.body?.cancel(), () => {});
    }
  }

  // The door for the other servers. It is reachable through Lintel too, hence the key.
  route() {
    const router = Router();
    router.post('/peer/message', (req, res, next) => {
      if (this.#isPeer(req)) next();
      else res.status(403).json({ error: 'not a peer' });
    }, express.json({ limit: '16kb' }), (req, res) => {
      this.#deliver(req.body);
      res.status(204).end();
    });
    return router;
  }

  #isPeer(req) {
    const expected = Buffer.from(this.#settings.peerKey ?? '');
    const given = Buffer.from(req.get(KEY_HEADER) ?? '');
    return expected.length > 0 && expected.length === given.length && timingSafeEqual(expected, given);
  }
}
