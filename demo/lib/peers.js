// Chat between servers without Redis: each server has a unix socket in a folder that all of them know, and connects to
// those that are there already. Nobody has to know ports or numbers, and servers may come and go. Good enough for a demo
// on one machine: a server that takes nothing for long misses messages.
//
// A connection carries messages both ways: lines of JSON, each a list. The first list is what was said before.

import { randomBytes } from 'node:crypto';
import { mkdir, readdir, unlink } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';

const UNREAD_MOST = 256 * 1024; // bytes that a peer has not taken, beyond which it misses messages

export class Peers {
  #folder;
  #chat; // deliver(message), which knows a message that it had already, and history
  #name = `${process.pid}-${randomBytes(4).toString('hex')}.sock`; // a process id may come again
  #door = net.createServer((socket) => this.#meet(socket));
  #sockets = new Set(); // two to a server that started in the same moment

  constructor(folder, chat) {
    this.#folder = folder;
    this.#chat = chat;
  }

  async open() {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await new Promise((resolve, reject) => {
      this.#door.once('error', reject);
      this.#door.listen(path.join(this.#folder, this.#name), resolve);
    });
    // Only now, so that of two servers that start together at least one sees the other.
    for (const name of await readdir(this.#folder)) {
      if (name !== this.#name && name.endsWith('.sock')) this.#call(path.join(this.#folder, name));
    }
  }

  send(message) {
    for (const socket of this.#sockets) {
      if (socket.writableLength < UNREAD_MOST) write(socket, [message]);
    }
  }

  close() {
    this.#door.close(); // which takes the socket out of the folder
    for (const socket of this.#sockets) socket.destroy();
  }

  #call(file) {
    const socket = net.connect(file);
    socket.on('error', (error) => {
      if (error.code === 'ECONNREFUSED') unlink(file).catch(() => {}); // left by a server that was killed
    });
    socket.once('connect', () => this.#meet(socket));
  }

  #meet(socket) {
    this.#sockets.add(socket);
    socket.on('error', () => {}); // 'close' follows
    socket.once('close', () => this.#sockets.delete(socket));
    write(socket, this.#chat.history);
    const lines = createInterface({ input: socket });
    lines.on('error', () => {}); // the socket's, once more
    lines.on('line', (line) => {
      try {
        JSON.parse(line).forEach(this.#chat.deliver);
      } catch {
        socket.destroy(); // half a line of a server that was killed, or no server
      }
    });
  }
}

const write = (socket, messages) => socket.write(`${JSON.stringify(messages)}\n`);
