// Listens where nothing may be changed: any port, a path of its own.
const net = require('node:net');
const path = require('node:path');

const any = net.createServer((socket) => socket.end('any'));
const own = net.createServer((socket) => socket.end('own'));
any.listen(0, '127.0.0.1', () => {
  own.listen(path.join(process.env.PLACE, 'own.sock'), () => console.log(`at ${JSON.stringify([any.address(), own.address()])}`));
});
process.stdin.resume().once('data', () => process.exit(0));
