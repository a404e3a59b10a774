// The WebSocket echo at /ws: says hello with the server, then returns every message as it came, text or binary.
// Also the one place that refuses upgrades which belong to nobody.

import { WebSocketServer } from 'ws';

const PING_EVERY = 30_000;
const GOING_AWAY = 1001;
const WAITING_MOST = 1024 * 1024; // bytes not yet taken by a client, beyond which its messages are no longer read

export function attachEcho(httpServer, settings) {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 16 * 1024 * 1024 });

  httpServer.on('upgrade', (req, socket, head) => {
    const [path] = req.url.split('?');
    if (path === '/ws') {
      sockets.handleUpgrade(req, socket, head, (client) => sockets.emit('connection', client, req));
    } else if (!path.startsWith('/socket.io/')) {
      socket.on('error', () => socket.destroy());
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    }
  });

  sockets.on('connection', (client, req) => {
    const room = new URLSearchParams(req.url.split('?')[1]).get('room');
    client.alive = true;
    client.on('pong', () => {
      client.alive = true;
    });
    client.on('error', () => client.terminate());
    client.on('message', (message, isBinary) => {
      client.send(message, { binary: isBinary }, () => {
        if (client.isPaused && client.bufferedAmount < WAITING_MOST) client.resume();
      });
      if (client.bufferedAmount >= WAITING_MOST) client.pause();
    });
    client.send(JSON.stringify({ hello: { index: settings.index, pid: process.pid, port: settings.port, room } }));
  });

  // A client that vanished without a word is found by its missing pong.
  const timer = setInterval(() => {
    for (const client of sockets.clients) {
      if (!client.alive) client.terminate();
      client.alive = false;
      client.ping();
    }
  }, PING_EVERY);
  timer.unref();

  return {
    get count() {
      return sockets.clients.size;
    },
    close: () => {
      clearInterval(timer);
      for (const client of sockets.clients) client.close(GOING_AWAY, 'server is going away');
    },
    terminate: () => {
      for (const client of sockets.clients) client.terminate();
    },
  };
}
