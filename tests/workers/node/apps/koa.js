'use strict';
// With a port of its own for metrics.

const http = require('node:http');
const Koa = require('koa');
const { moment, tell, worker } = require('./tell');

const app = new Koa({ proxy: true });
app.use(async (context) => {
  await moment();
  context.set('x-worker', worker);
  context.body = tell(context.headers, context.req.socket.remoteAddress, context.ip);
});
app.listen(3000);
http.createServer((request, response) => response.end('metrics')).listen(9464);
