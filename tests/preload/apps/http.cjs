// A plain server: /who tells what a program sees of its connection, /hold answers when the whole body is there,
// /busy keeps the process from everything else for a while.
const http = require('node:http');

const server = http.createServer((request, response) => {
  if (request.url === '/hold') {
    console.log('holding {}');
    request.resume().on('end', () => response.end('held'));
    return;
  }
  if (request.url === '/busy') {
    console.log('busy {}');
    const end = Date.now() + 300;
    while (Date.now() < end);
    return response.end('was busy');
  }
  const { remoteAddress, remotePort, remoteFamily, localAddress, localPort } = request.socket;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({
    pid: process.pid,
    address: server.address(),
    socket: { remoteAddress, remotePort, remoteFamily, localAddress, localPort, address: request.socket.address() },
    keepAlive: server.keepAliveTimeout,
    headers: server.headersTimeout,
  }));
});
if (process.env.KEEP_ALIVE) server.keepAliveTimeout = Number(process.env.KEEP_ALIVE);
console.log(`before ${JSON.stringify(server.address())}`);
const host = process.env.LISTEN_HOST;
const options = { port: process.env.LISTEN_TEXT ? '3000' : 3000, ...(host && { host }) };
server.listen(options, () => console.log(`listening ${JSON.stringify({ address: server.address(), send: typeof process.send })}`));
