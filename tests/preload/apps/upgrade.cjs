// A WebSocket server by hand. It writes what its stdin says, in hexadecimal, to the one socket it has.
const crypto = require('node:crypto');
const http = require('node:http');
const readline = require('node:readline');

let open = null;
const server = http.createServer((request, response) => response.end('plain'));
server.on('upgrade', (request, socket) => {
  open = socket;
  const key = request.headers['sec-websocket-key'] + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = crypto.createHash('sha1').update(key).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n');
  socket.write(`Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on('data', () => socket.end()); // the client's answer to a Close
  console.log('upgraded {}');
});
server.listen(3000);
readline.createInterface({ input: process.stdin }).on('line', (line) => {
  open.write(Buffer.from(line, 'hex'), () => console.log('written {}'));
});
