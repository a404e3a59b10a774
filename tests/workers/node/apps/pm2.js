'use strict';
// Written for PM2: says when it is ready, and ends itself when it is told to.

const http = require('node:http');
const { moment, tell, worker } = require('./tell');

const server = http.createServer(async (request, response) => {
  await moment();
  response.setHeader('x-worker', worker);
  response.end(JSON.stringify(tell(request.headers, request.socket.remoteAddress)));
});
server.listen(3000, () => setTimeout(() => process.send('ready'), 100));
process.on('message', (message) => message === 'shutdown' && end());
process.on('SIGINT', end);

function end() {
  server.close(() => process.exit(0));
}
