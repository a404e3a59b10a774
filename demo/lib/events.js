// GET /sse: an event stream. First a `hello` with the server, then a `tick` every ?interval= ms, ?count= of them
// (0: until someone leaves).

import { Router } from 'express';

import { wholeNumber } from './query.js';

export function eventRoutes({ settings, flight }) {
  const router = Router();

  router.get('/sse', (req, res) => {
    const interval = Math.max(10, wholeNumber(req, 'interval', { fallback: 1000, most: 60_000 }));
    const count = wholeNumber(req, 'count', { fallback: 0, most: 1_000_000 });
    res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });

    let sent = 0;
    const send = (event, fields) => {
      res.write(`event: ${event}\nid: ${sent}\ndata: ${JSON.stringify({ index: settings.index, ...fields })}\n\n`);
    };
    const tick = () => {
      if (res.writableNeedDrain) return; // a reader this slow gets fewer ticks, not a longer queue
      sent += 1;
      send('tick', { n: sent, time: new Date().toISOString() });
      if (sent === count) res.end();
    };
    const leave = () => res.end();

    res.write('retry: 1000\n'); // a browser whose stream ended comes back after a second
    send('hello', { pid: process.pid });
    const timer = setInterval(tick, interval);
    flight.once('drain', leave);
    res.once('close', () => {
      clearInterval(timer);
      flight.off('drain', leave);
    });
    if (flight.draining) leave();
  });
  return router;
}
