'use strict';
// Node alone.

const http = require('node:http');
const { moment, tell, worker } = require('./tell');

http.createServer(async (request, response) => {
  await moment();
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify(tell(request.headers, request.socket.remoteAddress)));
}).listen(3000);
