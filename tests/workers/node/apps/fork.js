'use strict';
// Has another process work for it.

const { fork } = require('node:child_process');
const http = require('node:http');
const path = require('node:path');
const { tell, worker } = require('./tell');

const child = fork(path.join(__dirname, 'forked.js'));
const waiting = new Map();
let last = 0;
child.on('message', ({ id, sum }) => waiting.get(id)(sum));
http.createServer(async (request, response) => {
  const id = (last += 1);
  const sum = await new Promise((resolve) => {
    waiting.set(id, resolve);
    child.send({ id, count: 100_000 });
  });
  waiting.delete(id);
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify({ ...tell(request.headers, request.socket.remoteAddress), sum }));
}).listen(3000);
