// Numbers from the query string, within limits.

export class BadQuery extends Error {}

// Reads a whole number; what is over `most` is cut to it, anything else is the client's mistake.
export function wholeNumber(req, name, { fallback, most }) {
  const raw = req.query[name];
  if (raw === undefined) return fallback;
  if (typeof raw !== 'string' || !/^\d{1,15}$/.test(raw)) throw new BadQuery(`${name} must be a whole number`);
  return Math.min(Number(raw), most);
}

export function flag(req, name) {
  return ['', '1', 'true', 'yes'].includes(req.query[name]);
}
