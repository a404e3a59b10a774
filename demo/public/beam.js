// The front door: every request drops into the pillar of the server that answered it.

import { badge, byId, draw, inMs, paint } from './draw.js';
import { timedFetch } from './timing.js';

const STRIP = 90; // answers in the strip
const WINDOW = 100; // answers over which shares are counted
const QUIET_AFTER = 4000; // ms without an answer while others answer: the pillar fades

const pillars = new Map(); // by index
const latest = []; // indexes of the last answers
let rate = 2;
let timer;

export function startBeam() {
  byId('send-one').addEventListener('click', ask);
  byId('send-many').addEventListener('click', () => {
    for (let i = 0; i < 30; i += 1) ask();
  });
  for (const button of document.querySelectorAll('[data-rate]')) {
    button.addEventListener('click', () => {
      for (const other of document.querySelectorAll('[data-rate]')) other.ariaPressed = String(other === button);
      rate = Number(button.dataset.rate);
      schedule();
    });
  }
  document.addEventListener('visibilitychange', schedule);
  setInterval(fadeTheQuiet, 500);
  ask();
  schedule();
}

function schedule() {
  clearInterval(timer);
  if (rate > 0 && !document.hidden) timer = setInterval(ask, 1000 / rate);
}

async function ask() {
  const began = performance.now();
  try {
    const { answer, ms, json } = await timedFetch('/whoami', { signal: AbortSignal.timeout(15_000) });
    if (!answer.ok) return addToStrip(null, ms, `${answer.status} ${answer.statusText}`);
    const server = json();
    addToStrip(server.index, ms, `server ${server.index}, ${inMs(ms)}`);
    addToPillar(server, ms);
    showRequest(server);
  } catch (error) {
    addToStrip(null, performance.now() - began, error.message);
  }
}

function addToStrip(index, ms, title) {
  const cell = draw('i', { title, className: index === null ? 'failed' : '' });
  if (index !== null) paint(cell, index);
  // 1 ms is a low cell, a second a full one.
  const height = Math.min(100, 22 + 26 * Math.log10(Math.max(1, ms)));
  cell.style.setProperty('--height', `${height}%`);
  const strip = byId('strip');
  strip.append(cell);
  while (strip.childElementCount > STRIP) strip.firstElementChild.remove();
  byId('beam-time').textContent = inMs(ms);
}

function addToPillar(server, ms) {
  let pillar = pillars.get(server.index);
  if (!pillar) {
    pillar = buildPillar(server.index);
    pillars.set(server.index, pillar);
    const sorted = [...pillars.entries()].sort(([a], [b]) => a - b).map(([, { element }]) => element);
    byId('pillars').replaceChildren(...sorted);
  }
  pillar.answers += 1;
  pillar.lastAt = performance.now();
  pillar.times.push(ms);
  if (pillar.times.length > 30) pillar.times.shift();
  pillar.address.textContent = `pid ${server.pid} · up ${inWords(server.uptime)}`;
  pillar.count.textContent = pillar.answers.toLocaleString('en');
  pillar.time.textContent = inMs(median(pillar.times));
  pillar.element.animate([{ '--flash': 1 }, { '--flash': 0 }], { duration: 700, easing: 'ease-out' });

  latest.push(server.index);
  if (latest.length > WINDOW) latest.shift();
  for (const [index, { share, element }] of pillars) {
    const part = latest.filter((one) => one === index).length / latest.length;
    share.textContent = `${Math.round(part * 100)} %`;
    element.style.setProperty('--share', part);
  }
}

function buildPillar(index) {
  const parts = { answers: 0, lastAt: 0, times: [] };
  for (const name of ['count', 'share', 'time', 'address']) parts[name] = draw('span');
  parts.count.className = 'count';
  parts.address.className = 'address';
  parts.element = paint(draw('article', { className: 'pillar' },
    draw('h3', {}, `Server ${index}`),
    parts.count,
    draw('p', {}, parts.share, draw('i', {}, ' of the last 100'), ' · ', parts.time),
    parts.address,
  ), index);
  return parts;
}

function fadeTheQuiet() {
  const now = performance.now();
  const newest = Math.max(0, ...[...pillars.values()].map(({ lastAt }) => lastAt));
  for (const { element, lastAt } of pillars.values()) {
    element.classList.toggle('quiet', newest - lastAt > QUIET_AFTER && now - newest < QUIET_AFTER);
  }
}

function inWords(seconds) {
  return seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

function median(values) {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

// The section "What the server saw", and the footer.
function showRequest(server) {
  const { headers } = server;
  const rows = {
    'request line': `${server.method} ${server.url} HTTP/${server.httpVersion}`,
    client: server.client,
    'client spoke': server.protocol,
    'x-request-id': headers['x-request-id'],
    'x-forwarded-for': headers['x-forwarded-for'],
    'x-forwarded-proto': headers['x-forwarded-proto'],
    'x-forwarded-host': headers['x-forwarded-host'],
    forwarded: headers.forwarded,
    via: headers.via,
    host: headers.host,
    'answered by': `pid ${server.pid} on ${server.hostname}, node ${server.node}`,
  };
  const shown = Object.entries(rows).filter(([, value]) => value !== undefined && value !== null);
  byId('seen').replaceChildren(...shown.flatMap(([name, value]) => [draw('dt', {}, name), draw('dd', {}, String(value))]));
  byId('served').replaceChildren('server ', badge(server.index));
  // Process 1 is a container's own; outside of it that number is another process, and the most important one.
  byId('kill').textContent = server.index < 10 ? `kill ${server.pid}` : `docker compose kill node${Math.floor(server.index / 10)}`;
}
