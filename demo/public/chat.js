// The chat. Socket.IO begins with HTTP polling and then upgrades to a WebSocket; both must reach the same server.

import { badge, byId, draw } from './draw.js';

const NAMES = ['Ada', 'Grace', 'Linus', 'Barbara', 'Edsger', 'Margaret', 'Ken', 'Radia', 'Dennis', 'Hedy'];

export function startChat() {
  const nameField = byId('chat-name');
  nameField.value = localStorage.getItem('name') ?? NAMES[Math.floor(Math.random() * NAMES.length)];

  // `io` comes from /socket.io/socket.io.js, which Lintel passes on like everything else.
  const socket = io({ auth: (send) => send({ name: nameField.value }) });
  let server = null;

  const state = (...children) => byId('chat-state').replaceChildren(...children);
  const showState = () => {
    if (!server || !socket.connected) return;
    state('connected to server ', badge(server.index), ` by ${socket.io.engine.transport.name}`);
  };

  socket.on('welcome', (hello) => {
    server = hello;
    showState();
    byId('chat-log').replaceChildren();
    hello.history.forEach(show);
  });
  socket.on('connect', () => socket.io.engine.once('upgrade', showState));
  socket.on('message', show);
  socket.on('disconnect', (reason) => state(`disconnected: ${reason}`));
  socket.on('connect_error', (error) => state(`no connection: ${error.message}`));

  const reconnect = () => {
    localStorage.setItem('name', nameField.value);
    socket.disconnect().connect();
  };
  byId('chat-again').addEventListener('click', reconnect);
  nameField.addEventListener('change', reconnect);

  byId('chat-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const field = byId('chat-text');
    if (field.value.trim() !== '') socket.emit('say', field.value);
    field.value = '';
  });
}

function show(message) {
  const log = byId('chat-log');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const time = new Date(message.at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  if (message.kind === 'say') {
    log.append(draw('li', {}, badge(message.index),
      draw('div', {}, draw('strong', {}, message.name), draw('time', {}, time), draw('p', {}, message.text))));
  } else {
    const text = message.kind === 'join' ? `${message.name} came in` : `${message.name} left`;
    log.append(draw('li', { className: 'event' }, badge(message.index), draw('div', {}, text, draw('time', {}, time))));
  }
  while (log.childElementCount > 200) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}
