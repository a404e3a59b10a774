// The Express app: which path is answered by which file.

import { fileURLToPath } from 'node:url';

import express from 'express';

import { bodyRoutes } from './bodies.js';
import { eventRoutes } from './events.js';
import { metricsRoute } from './metrics.js';
import { BadQuery } from './query.js';
import { sessionRoutes } from './session.js';
import { whoamiRoute } from './whoami.js';
import { workRoutes } from './work.js';

const publicFolder = fileURLToPath(new URL('../public', import.meta.url));

export function createApp(parts) {
  const { settings, flight } = parts;
  const app = express();
  app.disable('x-powered-by');
  app.set('trust proxy', settings.trustProxy);
  app.set('etag', false); // every answer is live

  app.use((req, res, next) => {
    flight.take(res);
    res.setHeader('x-demo-server', String(settings.index));
    next();
  });

  app.get('/healthz', (req, res) => {
    res.status(flight.draining ? 503 : 200).json({ status: flight.draining ? 'draining' : 'ok', index: settings.index });
  });
  app.use(whoamiRoute(parts));
  app.use(workRoutes(parts));
  app.use(bodyRoutes(parts));
  app.use(eventRoutes(parts));
  app.use(metricsRoute(parts));
  app.use('/session', sessionRoutes(parts));
  app.use(express.static(publicFolder, { setHeaders: pageHeaders }));

  app.use((req, res) => res.status(404).json({ error: 'not found', path: req.path }));
  app.use((error, req, res, next) => {
    if (res.headersSent) return next(error); // Express closes the connection: half an answer must not look whole
    const status = error instanceof BadQuery ? 400 : (error.status ?? 500);
    if (status >= 500) console.error(`demo server ${settings.index}: ${req.method} ${req.path}:`, error);
    res.status(status).json({ error: status >= 500 ? 'internal error' : error.message });
  });
  return app;
}

function pageHeaders(res) {
  res.setHeader('cache-control', 'no-cache');
  res.setHeader('content-security-policy', "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:");
}
