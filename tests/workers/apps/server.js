'use strict';
// A server that tests can make do everything: be slow, block, grow, start processes, write floods.
// Files beside it set it up at its start: boot-ms (how long that takes), broken-INDEX (it throws), hold (no `ready`).

const fs = require('node:fs');
const http = require('node:http');
const { createHash } = require('node:crypto');
const { spawn } = require('node:child_process');

const index = process.env.NODE_APP_INSTANCE;
const kept = [];

console.log(`booting ${index}`);
if (fs.existsSync(`broken-${index}`)) throw new Error('the database does not know this password');

const answers = {
  '/': () => ({ pid: process.pid, index: Number(index), port: server.address().port }),
  '/env': () => process.env,
  '/brief': (_, done) => setTimeout(done, 20, {}),
  // Once the file `go` is there.
  '/hold': (_, done) => {
    console.log('holds');
    const look = () => (fs.existsSync('go') ? done({ held: true }) : setTimeout(look, 20));
    look();
  },
  '/slow': (_, done) => {
    console.log('slow begins');
    setTimeout(done, 300, { slow: true });
  },
  '/block': () => {
    console.log('blocks');
    for (;;);
  },
  '/grow': (value) => kept.push(Buffer.alloc(Number(value) << 20, 1)),
  '/spawn': (value) => {
    const child = spawn('sleep', ['1000'], { stdio: 'ignore', detached: value === 'detached' });
    child.unref();
    return { pid: child.pid };
  },
  '/say': (value) => console.log(value),
  '/complain': (value) => console.error(value),
  '/flood': (value) => {
    for (let line = 0; line < Number(value); line += 1) console.log(`flood ${line}`);
    return { written: Number(value) };
  },
  // So many lines of 1 KiB, as fast as they are read.
  '/torrent': (value, done) => {
    const lines = `torrent ${'.'.repeat(1015)}\n`.repeat(64);
    let left = Number(value);
    const pour = () => {
      for (; left > 0; left -= 64) {
        if (!process.stdout.write(lines)) break;
      }
      if (left <= 0) return done({ written: Number(value) });
      left -= 64;
      process.stdout.once('drain', pour);
    };
    pour();
  },
};

const server = http.createServer((request, response) => {
  const [path, value] = request.url.split('?');
  const answer = (body) => {
    response.setHeader('content-type', 'application/json');
    response.setHeader('x-worker', `${index} ${process.pid}`);
    response.end(JSON.stringify(body ?? {}));
  };
  if (!answers[path]) {
    response.statusCode = 404;
    response.end();
    return;
  }
  request.resume().on('end', () => {
    if (answers[path].length === 2) answers[path](value, answer);
    else answer(answers[path](value));
  });
});

// WebSockets that are opened and stay silent.
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: websocket', 'Connection: Upgrade'];
  socket.write(`${head.join('\r\n')}\r\nSec-WebSocket-Accept: ${accept.digest('base64')}\r\n\r\n`);
  socket.on('error', () => {}).resume();
});

function start() {
  server.listen(Number(process.env.PORT), () => {
    console.log(`listening ${index}`);
    if (process.env.SAYS_READY) sayReady();
  });
}

/** As programs for PM2 do it, once the file `hold` is away. */
function sayReady() {
  if (fs.existsSync('hold')) setTimeout(sayReady, 20);
  else process.send('ready');
}

const wait = fs.existsSync('boot-ms') ? Number(fs.readFileSync('boot-ms', 'utf8')) : 0;
if (wait > 0) setTimeout(start, wait);
else start();
