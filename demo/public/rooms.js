// WebSocket echo. A chip per room takes the colour of the server that the room's connection reached.

import { badge, byId, draw, inMs, paint } from './draw.js';

const ROOMS = ['atrium', 'library', 'kitchen', 'garden', 'cellar'];
const EVERY = 500; // ms between two echoes
const POINTS = 60;

let socket;
let room = ROOMS[Math.floor(Math.random() * ROOMS.length)];
let times = [];
let again;

export function startRooms() {
  byId('echo-rooms').append(...ROOMS.map((name) => {
    const chip = draw('button', { type: 'button' }, name);
    chip.dataset.room = name;
    chip.addEventListener('click', () => enter(name));
    return chip;
  }));
  enter(room);
  setInterval(() => {
    if (socket.readyState === WebSocket.OPEN && !document.hidden) socket.send(JSON.stringify({ sent: performance.now() }));
  }, EVERY);
}

function enter(name) {
  clearTimeout(again);
  if (socket) socket.onclose = null;
  socket?.close();
  room = name;
  times = [];
  for (const chip of byId('echo-rooms').children) chip.ariaPressed = String(chip.dataset.room === room);
  state(`entering ${room}`);

  const url = new URL(`/ws?room=${encodeURIComponent(room)}`, location.href);
  url.protocol = url.protocol.replace('http', 'ws');
  socket = new WebSocket(url);
  socket.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.hello) arrive(message.hello);
    else measure(performance.now() - message.sent);
  };
  socket.onclose = (event) => {
    state(`closed (${event.code}${event.reason ? `: ${event.reason}` : ''}), trying again`);
    again = setTimeout(() => enter(room), 1000);
  };
}

function arrive(server) {
  state(`${room} is on server `, badge(server.index), ` pid ${server.pid}`);
  const chip = document.querySelector(`[data-room="${room}"]`);
  paint(chip, server.index).classList.add('known');
  paint(byId('echo-plot'), server.index);
}

function measure(ms) {
  times.push(ms);
  if (times.length > POINTS) times.shift();
  byId('echo-time').textContent = inMs(ms);

  const most = Math.max(4, ...times) * 1.15;
  const points = times.map((value, i) => [300 - (times.length - 1 - i) * (300 / (POINTS - 1)), 54 - (value / most) * 50]);
  const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(' ');
  byId('echo-plot').innerHTML =
    `<polygon points="${points[0][0].toFixed(1)},56 ${line} 300,56"/><polyline points="${line}" vector-effect="non-scaling-stroke"/>`;
}

const state = (...children) => byId('echo-state').replaceChildren(...children);
