// Socket.IO on the server of an Express program, attached after it listens.
const { createRequire } = require('node:module');
const http = require('node:http');
const path = require('node:path');

const demo = createRequire(path.join(__dirname, '../../../demo/package.json'));
const server = http.createServer(demo('express')());
server.listen(3000, () => {
  new (demo('socket.io').Server)(server).on('connection', (socket) => socket.emit('welcome', socket.handshake.address));
  console.log('attached {}');
});
