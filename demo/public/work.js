// The buttons for slow requests: one tile per request, in the colour of who answered, with how long it took.

import { byId, draw, inMs, paint } from './draw.js';
import { timedFetch } from './timing.js';

export function startWork() {
  for (const button of document.querySelectorAll('[data-path]')) {
    button.addEventListener('click', () => {
      const tiles = Array.from({ length: Number(button.dataset.count) }, () => draw('span', { className: 'tile waiting' }, '…'));
      byId('work-log').replaceChildren(...tiles);
      for (const tile of tiles) ask(button.dataset.path, tile);
    });
  }
}

async function ask(path, tile) {
  try {
    const { answer, ms } = await timedFetch(path);
    const sender = answer.headers.get('x-demo-server'); // none where Lintel itself answers
    const index = sender === null ? null : Number(sender);
    tile.className = answer.ok ? 'tile' : 'tile refused';
    tile.textContent = answer.ok ? inMs(ms) : String(answer.status);
    tile.title = `${sender === null ? 'no server' : `server ${sender}`}: ${answer.status} ${answer.statusText}`;
    paint(tile, index);
  } catch (error) {
    tile.className = 'tile refused';
    tile.textContent = 'failed';
    tile.title = error.message;
  }
}
