// Small things every section draws with.

export const byId = (id) => document.getElementById(id);

// Makes an element: draw('p', { className: 'hint' }, 'text', child, ...).
export function draw(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// A server has the same colour everywhere: --server-N in page.css. Who is no server, null, is grey.
export const colourOf = (index) => (index === null ? 'var(--nobody)' : `var(--server-${index % 8})`);

export function paint(element, index) {
  element.style.setProperty('--colour', colourOf(index));
  return element;
}

export const badge = (index) => paint(draw('b', { className: 'badge', title: `server ${index}` }, String(index)), index);

export const inMs = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
