// GET /session: counts the visits of one browser. DELETE /session starts over.
//
// With REDIS_URL every server knows every session. Without, a session lives in the memory of the server that began
// it, and the front door has to bring the browser back there: `sticky` in conf/demo.yaml.

import { RedisStore } from 'connect-redis';
import { Router } from 'express';
import session from 'express-session';

const HOUR = 60 * 60 * 1000;

export function sessionRoutes({ settings, redis }) {
  const store = redis ? new RedisStore({ client: redis, prefix: 'lintel-demo:session:' }) : new session.MemoryStore();
  const router = Router();
  router.use(session({
    name: 'demo.sid',
    secret: settings.sessionSecret,
    store,
    resave: false,
    saveUninitialized: false,
    cookie: { httpOnly: true, sameSite: 'lax', secure: 'auto', maxAge: HOUR },
  }));

  router.get('/', (req, res) => {
    req.session.visits = (req.session.visits ?? 0) + 1;
    req.session.startedBy ??= settings.index;
    res.setHeader('cache-control', 'no-store');
    res.json({
      index: settings.index,
      visits: req.session.visits,
      startedBy: req.session.startedBy,
      store: redis ? 'redis' : 'memory',
    });
  });

  router.delete('/', (req, res, next) => {
    req.session.destroy((error) => (error ? next(error) : res.status(204).end()));
  });
  return router;
}
