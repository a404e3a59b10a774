// The session counter.

import { badge, byId } from './draw.js';

export function startVisits() {
  byId('visit').addEventListener('click', visit);
  byId('forget').addEventListener('click', async () => {
    await fetch('/session', { method: 'DELETE' }).catch(() => {});
    await visit();
  });
  visit();
}

async function visit() {
  const state = byId('visits-state');
  try {
    const answer = await fetch('/session', { cache: 'no-store' });
    if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
    const session = await answer.json();
    byId('visits').textContent = session.visits;
    if (session.store === 'redis') state.replaceChildren('counted by server ', badge(session.index), ', kept in Redis for all');
    else state.replaceChildren('kept in the memory of server ', badge(session.index));
  } catch (error) {
    state.textContent = error.message;
  }
}
