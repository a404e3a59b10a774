'use strict';
// HTTP/2 without TLS, and nothing else.

const http2 = require('node:http2');
const { moment, tell, worker } = require('./tell');

http2.createServer(async (request, response) => {
  await moment();
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify(tell(request.headers, request.socket.remoteAddress)));
}).listen(3000);
