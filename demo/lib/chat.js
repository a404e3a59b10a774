// The Socket.IO chat. Every message carries the index of the server its author is connected to.
//
// A chat is only a chat if people on different servers hear each other: with Redis through Socket.IO's Redis adapter,
// else by passing each message to the other servers directly (peers.js). The latter tells a new server what was said
// before it came, too.

import { createAdapter } from '@socket.io/redis-adapter';
import { Server } from 'socket.io';

import { Peers } from './peers.js';

const HISTORY = 30;
const KNOWN = 2000; // messages by id, lest one that comes twice is shown twice

export async function attachChat(httpServer, settings, redis) {
  const io = new Server(httpServer, {
    serveClient: true, // the page loads /socket.io/socket.io.js from here
    destroyUpgrade: false, // echo.js answers the upgrades that are nobody's
    maxHttpBufferSize: 64 * 1024,
  });
  const copies = redis ? [redis.duplicate(), redis.duplicate()] : [];
  for (const copy of copies) copy.on('error', () => {}); // the first connection reports
  if (redis) {
    io.adapter(createAdapter(...copies));
    Promise.all(copies.map((copy) => copy.connect())).catch(() => {});
  }

  const history = [];
  const known = new Set();
  const deliver = (message) => {
    if (known.has(message.id)) return;
    known.add(message.id);
    if (known.size > KNOWN) known.delete(known.values().next().value);
    history.push(message);
    history.sort((a, b) => a.at - b.at);
    if (history.length > HISTORY) history.shift();
    io.local.emit('message', message);
  };
  const peers = await openPeers(redis ? null : settings.peerFolder, { deliver, history });
  // Through Redis each server is told by the adapter; 'deliver' keeps its history in step with what its clients see.
  io.on('deliver', deliver);

  const publish = (message) => {
    deliver(message);
    if (redis) io.serverSideEmit('deliver', message);
    else peers?.send(message);
  };

  let closing = false;
  // Neither index nor process id tells containers apart.
  const compose = (fields) => ({ id: crypto.randomUUID(), at: Date.now(), index: settings.index, ...fields });

  io.on('connection', (socket) => {
    const name = cleanName(socket.handshake.auth?.name) || `guest-${socket.id.slice(0, 4)}`;
    socket.emit('welcome', { index: settings.index, pid: process.pid, port: settings.port, name, history });
    publish(compose({ kind: 'join', name }));

    socket.on('say', (text, confirm) => {
      const message = compose({ kind: 'say', name, text: String(text ?? '').slice(0, 500) });
      if (message.text.trim() !== '') publish(message);
      if (typeof confirm === 'function') confirm({ id: message.id, index: settings.index });
    });
    socket.on('ping-server', (confirm) => {
      if (typeof confirm === 'function') confirm({ index: settings.index });
    });
    socket.on('disconnect', () => {
      if (!closing) publish(compose({ kind: 'leave', name }));
    });
  });

  return {
    get count() {
      return io.engine.clientsCount;
    },
    // Ends every session in a way that makes clients come back, to another server.
    close: async () => {
      closing = true;
      await io.close().catch(() => {});
      peers?.close();
      await Promise.allSettled(copies.map((copy) => copy.close()));
    },
  };
}

// A chat that stays on one server is better than none.
async function openPeers(folder, chat) {
  if (!folder) return null;
  const peers = new Peers(folder, chat);
  try {
    await peers.open();
    return peers;
  } catch (error) {
    console.error(`chat: other servers do not hear what is said here: ${error.message}`);
    return null;
  }
}

function cleanName(name) {
  return typeof name === 'string' ? name.replace(/[\p{C}]/gu, '').trim().slice(0, 24) : '';
}
