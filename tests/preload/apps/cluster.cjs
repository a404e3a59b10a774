// A primary that keeps two workers alive.
const cluster = require('node:cluster');
const http = require('node:http');

if (cluster.isPrimary) {
  cluster.fork();
  cluster.fork();
  cluster.on('exit', () => cluster.fork());
} else {
  const server = http.createServer((request, response) => {
    if (request.url === '/hold') {
      console.log('holding {}');
      request.resume().on('end', () => response.end('held'));
      return;
    }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ pid: process.pid, address: server.address(), remote: request.socket.remoteAddress }));
  });
  server.listen(3000);
}
