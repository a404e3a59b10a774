'use strict';
// What every program here answers: who it is, and what it sees of the client.

const { pid, env: { NODE_APP_INSTANCE } } = process;

/** `ip` is what a framework makes of it that trusts the proxy before it. */
exports.tell = (headers, remote, ip) => ({
  pid,
  index: Number(NODE_APP_INSTANCE),
  remote,
  host: headers.host ?? headers[':authority'],
  forwarded: headers['x-forwarded-for'],
  protocol: headers['x-forwarded-proto'],
  ip,
});

/** In the header x-worker: place and process. */
exports.worker = `${NODE_APP_INSTANCE} ${pid}`;

/** A request takes a moment, so that some are always under way. */
exports.moment = () => new Promise((resolve) => setTimeout(resolve, 20));
