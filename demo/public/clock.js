// The event stream. A browser takes it up again by itself, from another server if its own has ended.

import { badge, byId } from './draw.js';

export function startClock() {
  const stream = new EventSource('/sse');
  const state = byId('clock-state');

  stream.addEventListener('hello', (event) => {
    state.replaceChildren('streamed by server ', badge(JSON.parse(event.data).index));
  });
  stream.addEventListener('tick', (event) => {
    byId('clock').textContent = new Date(JSON.parse(event.data).time).toLocaleTimeString('en-GB');
  });
  stream.addEventListener('error', () => {
    state.textContent = 'the stream broke, trying again';
  });
}
