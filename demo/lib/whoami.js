// GET /whoami: who answers, and what arrived here after Lintel passed it on.

import os from 'node:os';

import { Router } from 'express';

export function whoamiRoute({ settings }) {
  const router = Router();
  router.all('/whoami', (req, res) => {
    res.setHeader('cache-control', 'no-store');
    res.json({
      index: settings.index,
      pid: process.pid,
      port: settings.port,
      uptime: Math.floor(process.uptime()), // s
      hostname: os.hostname(),
      node: process.version,
      method: req.method,
      url: req.originalUrl,
      protocol: req.protocol, // what the browser spoke to Lintel, from x-forwarded-proto
      httpVersion: req.httpVersion, // what Lintel spoke to this server
      client: req.ip,
      requestId: req.get('x-request-id') ?? null,
      headers: req.headers,
    });
  });
  return router;
}
