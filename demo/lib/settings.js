// Everything that can be set from outside, read once at the start.

const text = (env, name, fallback) => (env[name] === undefined || env[name] === '' ? fallback : env[name]);

function number(env, name, fallback) {
  const raw = text(env, name, undefined);
  if (raw === undefined) return fallback;
  const value = Number(raw);
  if (!Number.isInteger(value) || value < 0) throw new Error(`${name} must be a whole number, not "${raw}"`);
  return value;
}

export function readSettings(env) {
  return {
    // Where to listen. PORT=0 lets the system choose.
    port: number(env, 'PORT', 3000),
    host: text(env, 'HOST', '127.0.0.1'),

    // Which of the servers this is. NODE_APP_INSTANCE is what Lintel tells its workers.
    // On one of several machines (docker-compose.yml), 21 is worker 1 of machine 2.
    index: 10 * number(env, 'DEMO_SERVER', 0) + number(env, 'NODE_APP_INSTANCE', number(env, 'DEMO_INDEX', 0)),

    // Whose X-Forwarded-* is believed: the front door on this machine or in the same private network.
    trustProxy: text(env, 'TRUST_PROXY', 'loopback, uniquelocal'),

    // With Redis, sessions and chat are shared by all servers. Without, sessions live in this process.
    redisUrl: text(env, 'REDIS_URL', null),
    sessionSecret: text(env, 'SESSION_SECRET', 'lintel-demo: replace me outside a demo'),

    // Without Redis, the servers pass chat messages to each other directly, over sockets in this folder. Without it too,
    // people only hear those on the same server.
    peerFolder: text(env, 'DEMO_PEER_FOLDER', null),

    // Worker threads for /cpu, and how many tasks may wait for one.
    cpu: { threads: number(env, 'CPU_THREADS', 2), queue: number(env, 'CPU_QUEUE', 4) },

    // After SIGTERM: how long to go on accepting while /healthz already answers 503, and when to stop being polite.
    drainDelay: number(env, 'DRAIN_DELAY_MS', 0),
    drainTimeout: number(env, 'DRAIN_TIMEOUT_MS', 9000),
  };
}
