// A program written for PM2: says when it is ready, ends by a message.
const http = require('node:http');

const server = http.createServer((request, response) => response.end('ok'));
process.on('message', (message) => {
  if (message !== 'shutdown') return;
  console.log('told {}');
  server.close(() => process.exit(5));
});
server.listen(3000);
process.stdin.resume().once('data', () => process.send('ready', () => console.log('sent {}')));
