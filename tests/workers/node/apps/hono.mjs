import { serve } from '@hono/node-server';
import { getConnInfo } from '@hono/node-server/conninfo';
import { Hono } from 'hono';
import { moment, tell, worker } from './tell.js';

const app = new Hono();
app.get('/', async (context) => {
  await moment();
  const { remote } = getConnInfo(context);
  return context.json(tell(context.req.header(), remote.address), 200, { 'x-worker': worker });
});
serve({ fetch: app.fetch, port: 3000 });
