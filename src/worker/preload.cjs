'use strict';
// Loaded into every Node process of a worker (NODE_OPTIONS=--require=...) before the program. It leads the program's first
// TCP listen() to the unix socket that Lintel holds for this worker, tells Lintel how the worker is, and ends it politely.
// It must not be felt: no error of its own reaches the program, and a process that never listens stays as it was.
//
//   LINTEL_LISTEN    fd:N, the inherited listener, or the path of a socket to bind; `nowhere` for a task, which serves
//                    nobody: where it listens is its own affair
//   LINTEL_FALLBACK  path of the same socket, bound where the descriptor did not come through (behind npm, tsx, a fork)
//   LINTEL_CONTROL   path of Lintel's socket: one JSON object per line, both ways
//   LINTEL_WORKER    the name of this worker, sent in `hello`
//   LINTEL_DRAIN_MS  how long a shutdown may take, in milliseconds (default 30000)
//   LINTEL_PORT      optional: only this port is the main one, even when another is opened first
//   LINTEL_CLAIMED   set here for child processes: the port that this process has led to the socket, or that it is the task

const LOAD_EVERY_MS = 250;
const LAG_RESOLUTION_MS = 20; // the histogram's timer is most of what an idle worker costs
const SWEEP_EVERY_MS = 100; // idle connections, while closing
const RECONNECT_MS = { first: 50, most: 1000 };
const LONGEST_COMMAND = 64 * 1024; // characters
const UNREAD_MOST = 64 * 1024; // bytes that Lintel has not read; no load is reported above
const PROBE_MS = 250; // a main server closed for longer was no probe for a free port: the program is ending itself
const CLOSE_PATIENCE_MS = 1000; // for the answer to a WebSocket Close
const KEEP_ALIVE_MS = { node: 5000, ours: 65000 }; // Lintel, not the server, closes idle connections
const HEADERS_MS = { node: 60000, ours: 66000 };
const BUSY_TASK = 0.05; // share of the time; below it the delay of a task's event loop is not measured
// Programs that run another one, which is the task. By the file name of their script.
const WRAPPERS = /^(npm|npx|yarn|pnpm|pnpx|corepack|tsx|nest|nodemon|cross-env|dotenv)(-cli|pkg|-[\d.]+)?(\.[cm]?js)?$/;
const CLOSE_GOING_AWAY = Buffer.from([0x88, 2, 1001 >> 8, 1001 & 255]);

if (require('node:worker_threads').isMainThread && process.env.LINTEL_LISTEN) {
  try {
    install(require('node:net'), process.env);
  } catch {
    // The program runs without it; Lintel misses the `hello`.
  }
}

function install(net, env) {
  const { listen: realListen, close: realClose, address: realAddress } = net.Server.prototype;
  const fallback = env.LINTEL_FALLBACK || '';
  const onlyPort = Number(env.LINTEL_PORT) || null;
  const drainMs = Number(env.LINTEL_DRAIN_MS) || 30000;
  const inClusterWorker = process.send !== undefined && require('node:cluster').isWorker;
  const isTask = env.LINTEL_LISTEN === 'nowhere';
  let target = isTask ? null : findTarget();

  const main = { port: (!isTask && Number(env.LINTEL_CLAIMED)) || null, server: null };
  const places = new WeakMap(); // server -> { role, host, port, at }: where the program believes it listens, and where it does
  const watched = new WeakSet();
  const aliases = new WeakSet();
  const open = new Set(); // watched servers that have not ended
  const connections = new Set(); // HTTP/1
  const sessions = new Set(); // HTTP/2
  const live = new Set(); // responses and HTTP/2 streams in flight
  const upgraded = new Map(); // socket -> what says farewell on it, null for protocols other than WebSocket
  let served = 0;
  let closing = false; // drain or shutdown: connections are not kept
  let stopping = false; // shutdown

  /** Errors of ours stay here. */
  function guarded(act) {
    return function guardedCall(...args) {
      try {
        return act.apply(this, args);
      } catch (error) {
        complain((error && error.stack) || error);
        return undefined;
      }
    };
  }

  function complain(text) {
    try {
      send({ t: 'problem', text: String(text).slice(0, 2000) });
    } catch {
      // There is nobody left to tell.
    }
  }

  // ---- The control channel ---------------------------------------------------------------------------------------------

  const told = new Map(); // what a new Lintel must hear again: by kind, in order
  const channel = { socket: null, connected: false, delay: RECONNECT_MS.first };

  /** Says something that stays true: now and on every new connection. Opens the channel. */
  function announce(kind, message) {
    told.set(kind, message);
    if (channel.connected) send(message);
    else connect();
  }

  function send(message) {
    if (channel.connected) channel.socket.write(`${JSON.stringify(message)}\n`);
  }

  function connect() {
    if (channel.socket !== null || !env.LINTEL_CONTROL) return;
    const socket = net.connect({ path: env.LINTEL_CONTROL });
    channel.socket = socket;
    socket.unref();
    socket.setEncoding('utf8');
    socket.on('connect', guarded(() => {
      Object.assign(channel, { connected: true, delay: RECONNECT_MS.first });
      send({ t: 'hello', worker: env.LINTEL_WORKER || '', pid: process.pid, node: process.version });
      for (const message of told.values()) send(message);
    }));
    let text = '';
    socket.on('data', guarded((piece) => {
      const lines = (text + piece).split('\n');
      text = lines.pop();
      if (text.length > LONGEST_COMMAND) socket.destroy();
      lines.forEach(obey);
    }));
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', guarded(() => {
      // Spread, so that not all workers come back to a new Lintel in the same instant.
      setTimeout(guarded(connect), channel.delay * (0.8 + 0.2 * Math.random())).unref();
      Object.assign(channel, { socket: null, connected: false, delay: Math.min(channel.delay * 2, RECONNECT_MS.most) });
    }));
  }

  const obey = guarded((line) => {
    const { cmd } = JSON.parse(line);
    if (cmd === 'drain') closePolitely();
    if (cmd === 'shutdown') shutdown('SIGTERM', 'command');
    if (cmd === 'report') {
      // Secrets live in the environment, and looking up the names of peers can take seconds. Older Node knows neither switch.
      Object.assign(process.report, { excludeEnv: true, excludeNetwork: true });
      send({ t: 'report', file: process.report.writeReport() });
    }
  });

  // PM2 gives its programs an IPC channel. Here there is none, or it leads to a wrapper: 'ready' is heard either way.
  const sendToParent = process.send;
  const sayReady = guarded((message) => message === 'ready' && announce('ready', { t: 'ready' }));
  process.send = function send(message, ...rest) {
    sayReady(message);
    if (sendToParent) return sendToParent.apply(process, arguments);
    const callback = rest.find((argument) => typeof argument === 'function');
    if (callback) process.nextTick(callback, null);
    return true;
  };
  if (!sendToParent) process.disconnect = function disconnect() {}; // whoever sends may well hang up

  // ---- Where to listen -------------------------------------------------------------------------------------------------

  /** What the main server listens on. Found out at the start, while the descriptor cannot yet be anything else. */
  function findTarget() {
    const digits = /^fd:(\d+)$/.exec(env.LINTEL_LISTEN)?.[1];
    if (digits === undefined) return { path: env.LINTEL_LISTEN };
    // In a cluster it is the primary that opens the socket; it has left word in LINTEL_LISTEN.
    if (inClusterWorker || isListener(Number(digits))) return { fd: Number(digits) };
    if (fallback) env.LINTEL_LISTEN = fallback; // for cluster workers of this process
    return fallback ? { path: fallback } : null;
  }

  function isListener(fd) {
    const fs = require('node:fs');
    try {
      const status = fs.fstatSync(fd);
      if (!status.isSocket()) return false;
      if (env.LISTEN_PID === String(process.pid)) return true;
      // Behind a shell the pid is another but the descriptor came through; in a forked child it is the IPC channel.
      // Columns: number, references, protocol, flags (00010000: listening), type, state, inode, path.
      const row = new RegExp(`^\\S+ \\S+ \\S+ 00010000 \\S+ \\S+ +${status.ino}( |$)`, 'm');
      return row.test(fs.readFileSync('/proc/self/net/unix', 'latin1'));
    } catch {
      return false;
    }
  }

  /** The TCP address that listen() was asked for; null for port 0, paths, handles and descriptors. */
  function wantedAddress([first, second]) {
    const options = typeof first === 'object' && first !== null ? first : { port: first, host: second };
    if (options._handle || options.handle || options.fd >= 0) return null;
    if (typeof options.port !== 'number' && typeof options.port !== 'string') return null;
    const port = Number(options.port);
    if (!Number.isInteger(port) || port < 1 || port > 65535) return null;
    return { port, host: typeof options.host === 'string' && options.host !== '' ? options.host : undefined };
  }

  function roleOf(server, port) {
    const isMain = onlyPort === null ? main.port === null || main.port === port : port === onlyPort;
    if (!isMain) return 'extra'; // such as metrics: a socket of its own, lest the instances fight for the port
    return main.server !== null && main.server !== server ? 'alias' : 'main';
  }

  /** What becomes of a listen(): its role and new options; null leaves it as it is. */
  const planListen = guarded((server, args) => {
    if (server._handle || target === null) return null;
    const [first] = args;
    if (namesOurSocket(first)) return adopt(server, first);
    const wanted = wantedAddress(args);
    if (wanted === null) return null;
    const role = roleOf(server, wanted.port);
    if (role === 'extra' && !fallback) return null;
    const where = role === 'extra' ? { path: `${fallback}.${wanted.port}` } : { ...target };
    places.set(server, { role, ...wanted, at: where.path });
    if (role === 'alias') return { role };
    where.backlog = first.backlog || args.slice(1, 3).find((argument) => typeof argument === 'number');
    if (first.signal) where.signal = first.signal;
    if (where.path && !inClusterWorker) remove(where.path); // of an earlier run; in a cluster the primary does it, in `adopt`
    watch(server);
    if (role === 'main') claim(server, wanted.port);
    return { role, where };
  });

  function namesOurSocket(first) {
    if (first === null || first === undefined) return false;
    const path = typeof first === 'string' ? first : first.path;
    if (typeof path === 'string' && fallback) {
      const whole = require('node:path').resolve(path); // a cluster primary makes it relative
      return whole === fallback || whole.startsWith(`${fallback}.`);
    }
    return target.fd !== undefined && first.fd === target.fd;
  }

  /** A cluster primary opens a socket for its workers, or a program takes the descriptor itself, as under systemd. */
  function adopt(server, first) {
    const cluster = require('node:cluster');
    if (cluster.isPrimary && Object.keys(cluster.workers).length > 0) {
      if (first.fd === undefined) remove(first.path || first);
      awake();
      connect();
    } else if (first.fd !== undefined && main.server === null) {
      const port = Number(env.PORT) || 80;
      places.set(server, { role: 'main', port });
      watch(server);
      claim(server, port);
    }
    return null;
  }

  function remove(path) {
    try {
      require('node:fs').unlinkSync(path);
    } catch {
      // It was not there.
    }
  }

  function claim(server, port) {
    Object.assign(main, { port, server });
    env.LINTEL_CLAIMED = String(port); // a child process that opens another port must not take the main socket
  }

  net.Server.prototype.listen = function listen(...args) {
    const plan = planListen(this, args);
    if (!plan) return realListen.apply(this, args);
    const callback = args.filter((argument, i) => i === args.length - 1 && typeof argument === 'function');
    if (plan.role !== 'alias') return realListen.call(this, plan.where, ...callback);
    // The second bind of a port, such as ::1 next to 127.0.0.1. There is one socket for both, so it only looks open.
    aliases.add(this);
    Object.defineProperty(this, 'listening', { value: true, configurable: true });
    if (callback.length > 0) this.once('listening', callback[0]);
    process.nextTick(() => aliases.has(this) && this.emit('listening'));
    return this;
  };

  net.Server.prototype.close = function close(callback) {
    if (!aliases.delete(this)) {
      if (main.server === this) release();
      return realClose.apply(this, arguments);
    }
    places.delete(this);
    delete this.listening;
    if (typeof callback === 'function') this.once('close', callback);
    process.nextTick(() => this.emit('close'));
    return this;
  };

  net.Server.prototype.address = function address() {
    const place = places.get(this);
    if (place === undefined || !this.listening) return realAddress.apply(this, arguments);
    const { host = '::', port } = place;
    const ip = net.isIP(host) ? host : '127.0.0.1';
    return { address: ip, family: `IPv${net.isIP(ip)}`, port };
  };

  /** The program has closed its main server by itself. */
  const release = guarded(() => {
    main.server = null;
    told.delete('listening');
    if (target.fd !== undefined && fallback && !inClusterWorker) target = { path: fallback }; // the descriptor is closed now
    setTimeout(guarded(() => {
      if (main.server === null && !stopping) announce('draining', { t: 'draining', app_handles: true });
    }), PROBE_MS).unref();
  });

  const onListening = guarded(function onListening() {
    const { role, port, at = `fd:${target.fd}` } = places.get(this) || {};
    if (role === 'extra') announce(`extra ${port}`, { t: 'extra', port, at });
    if (role === 'main') {
      if (!stopping) told.delete('draining');
      announce('listening', { t: 'listening', port, boot_ms: Math.round(performance.now()), at });
    }
    reportLoad();
  });

  // ---- What a server does ----------------------------------------------------------------------------------------------

  let isAwake = false;
  /** What only a process that listens gets: in all others a signal, for one, does what it always did. */
  function awake() {
    if (isAwake) return;
    isAwake = true;
    // First in line: a signal handler of the program may end the process at once.
    for (const signal of ['SIGTERM', 'SIGINT']) process.prependListener(signal, onSignal);
    process.on('exit', guarded(() => {
      if (inClusterWorker) return;
      for (const server of open) if (places.get(server).role === 'extra') remove(places.get(server).at);
    }));
    // Node itself tells of requests: a listener on the server would be in the way of Socket.IO, which moves them about.
    require('node:diagnostics_channel').channel('http.server.request.start').subscribe(({ response, server }) => {
      if (!watched.has(server)) return;
      live.add(response);
      response.on('close', settled);
      if (closing) response.shouldKeepAlive = false;
    });
  }

  function settled() {
    if (live.delete(this)) served += 1;
  }

  function keepUntilClose(set, emitter) {
    set.add(emitter);
    emitter.once('close', () => set.delete(emitter));
  }

  /** Attaches to a server that is led away: once, for it may be closed and opened again. */
  function watch(server) {
    awake();
    open.add(server);
    if (server.keepAliveTimeout === KEEP_ALIVE_MS.node) {
      server.keepAliveTimeout = KEEP_ALIVE_MS.ours;
      if (server.headersTimeout === HEADERS_MS.node) server.headersTimeout = HEADERS_MS.ours;
    }
    if (watched.has(server)) return;
    watched.add(server);
    server.prependListener('listening', onListening);
    server.on('close', () => open.delete(server));
    // A listener of 'error' itself would keep a program without one from failing.
    server.on(require('node:events').errorMonitor, () => {
      if (server.listening) return;
      open.delete(server);
      if (main.server === server) main.server = null;
    });
    const isHttp2 = typeof server.updateSettings === 'function';
    const isHttp1 = !isHttp2 && typeof server.closeIdleConnections === 'function';
    const onConnection = guarded((socket) => {
      dress(socket, places.get(server).port);
      if (isHttp1) keepUntilClose(connections, socket);
    });
    server.prependListener('connection', onConnection);
    server.prependListener('secureConnection', onConnection);
    if (isHttp2) watchHttp2(server);
    watchUpgrades(server);
  }

  let lastPort = 32768;
  /** Unix sockets have no addresses; programs expect those of a proxy on this machine. */
  function dress(socket, port) {
    if (socket.remoteAddress !== undefined) return;
    lastPort = lastPort < 60999 ? lastPort + 1 : 32768;
    const peer = { address: '127.0.0.1', family: 'IPv4', port: lastPort };
    const here = { address: '127.0.0.1', family: 'IPv4', port };
    socket._getpeername = () => peer; // what all getters of addresses ask
    socket._getsockname = () => here;
  }

  function watchHttp2(server) {
    server.prependListener('session', guarded((session) => keepUntilClose(sessions, session)));
    server.prependListener('stream', guarded((stream) => {
      live.add(stream);
      stream.on('close', settled);
      if (closing) stream.session.close();
    }));
  }

  /** Listens for upgrades where the program does. Were ours the only listener, Node would treat requests otherwise. */
  function watchUpgrades(server) {
    let attached = false;
    const attach = (event) => {
      if (event !== 'upgrade' || attached) return;
      attached = true;
      server.prependListener('upgrade', guarded(onUpgrade));
    };
    server.on('newListener', attach);
    if (server.listenerCount('upgrade') > 0) attach('upgrade');
  }

  function onUpgrade(request, socket) {
    const isWebSocket = String(request.headers.upgrade).toLowerCase() === 'websocket';
    const farewell = isWebSocket ? followWrites(socket) : null;
    upgraded.set(socket, farewell);
    socket.once('close', () => upgraded.delete(socket));
    if (stopping && farewell) farewell();
  }

  /** Follows what is written to a WebSocket, so that a Close can go between two frames. Returns what sends it. */
  function followWrites(socket) {
    const { write } = socket;
    const frames = frameFollower();
    let due = false;
    let said = false;
    const farewell = guarded(() => {
      due = true;
      if (said || !frames.between() || socket.destroyed || socket.writableEnded) return;
      said = true;
      write.call(socket, CLOSE_GOING_AWAY);
      setTimeout(() => socket.destroy(), CLOSE_PATIENCE_MS).unref();
    });
    const follow = guarded((piece, encoding) => {
      frames.pass(typeof piece === 'string' ? Buffer.from(piece, typeof encoding === 'string' ? encoding : 'utf8') : piece);
      if (due) farewell();
    });
    socket.write = function write_(piece, encoding, callback) {
      if (said) { // nothing may follow a Close
        const done = typeof encoding === 'function' ? encoding : callback;
        if (typeof done === 'function') process.nextTick(done);
        return true;
      }
      const flushed = write.apply(this, arguments);
      follow(piece, encoding);
      return flushed;
    };
    return farewell;
  }

  /** Tells whether the bytes that have passed end between two frames. First comes the head of the 101, then frames. */
  function frameFollower() {
    let matched = 0; // bytes of the blank line that ends the head
    let left = 0; // bytes of the payload still to come
    let header = []; // of the frame that has begun; a server's frames have no mask
    const payloadLength = () => {
      const extended = { 126: 2, 127: 8 }[header[1]] || 0;
      if (header.length < 2 + extended) return undefined;
      return extended === 0 ? header[1] : header.slice(2).reduce((sum, byte) => sum * 256 + byte);
    };
    const pass = (bytes) => {
      for (let at = 0; at < bytes.length; at += 1) {
        if (matched < 4) {
          matched = bytes[at] === (matched % 2 === 0 ? 13 : 10) ? matched + 1 : Number(bytes[at] === 13);
        } else if (left > 0) {
          const step = Math.min(left, bytes.length - at);
          left -= step;
          at += step - 1;
        } else {
          header.push(bytes[at]);
          const length = payloadLength();
          if (length !== undefined) [left, header] = [length, []];
        }
      }
    };
    return { pass, between: () => matched === 4 && left === 0 && header.length === 0 };
  }

  // ---- Load ------------------------------------------------------------------------------------------------------------

  let isReporting = false;
  function reportLoad() {
    if (isReporting) return;
    isReporting = true;
    const lag = require('node:perf_hooks').monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
    const milliseconds = (value) => Number(Math.max(0, value).toFixed(1));
    let [use, time, servedBefore, handles, rounds] = [performance.eventLoopUtilization(), performance.now(), 0, 0, 0];
    setInterval(guarded(() => {
      const useNow = performance.eventLoopUtilization();
      const elu = performance.eventLoopUtilization(useNow, use).utilization;
      const late = performance.now() - time - LOAD_EVERY_MS; // this timer sees a block also while the histogram rests
      // The list of all handles is long where there are many sockets: every two seconds will do.
      if (rounds % 8 === 0) handles = process._getActiveHandles().length;
      const memory = process.memoryUsage();
      if (channel.connected && channel.socket.writableLength < UNREAD_MOST) {
        send({
          t: 'load',
          elu: Number(elu.toFixed(3)),
          lag_p99: milliseconds(lag.percentile(99) / 1e6 - LAG_RESOLUTION_MS),
          lag_max: milliseconds(Math.max(lag.max / 1e6 - LAG_RESOLUTION_MS, late)),
          rss: memory.rss, heap: memory.heapUsed, external: memory.external,
          active: live.size, served, sockets: upgraded.size, handles, // sockets: upgraded ones, WebSockets as a rule
        });
      }
      lag.reset();
      if (isTask ? elu > BUSY_TASK : served !== servedBefore || live.size > 0) lag.enable();
      else lag.disable();
      [use, time, servedBefore, rounds] = [useNow, performance.now(), served, rounds + 1];
    }), LOAD_EVERY_MS).unref();
  }

  /** A task is the first process of its tree that is no wrapper. It reports from its start, and for its children too. */
  const reportTask = guarded(() => {
    if (env.LINTEL_CLAIMED || WRAPPERS.test(require('node:path').basename(process.argv[1] || ''))) return;
    env.LINTEL_CLAIMED = 'task';
    connect();
    reportLoad();
  });
  if (isTask) reportTask();

  // ---- The end ---------------------------------------------------------------------------------------------------------

  /** Keeps no connection any longer. The listener stays, and new requests are still answered. */
  function closePolitely() {
    if (closing) return;
    closing = true;
    for (const response of live) if (response.shouldKeepAlive) response.shouldKeepAlive = false;
    for (const session of sessions) guarded(() => session.close())(); // GOAWAY; what runs is finished
    sweep('idle');
    setInterval(() => setImmediate(sweep, 'unused too'), SWEEP_EVERY_MS).unref();
  }

  /** Connections on which nothing had come when they were last looked at. */
  let unused = new Set();

  const sweep = guarded((what) => {
    for (const server of open) if (server.closeIdleConnections) server.closeIdleConnections();
    if (what === 'idle') return;
    // Node does not count a connection as idle on which nothing ever came. What came with a new one is read a turn of the
    // event loop after it was accepted, so only what was unused before is closed.
    const found = [...connections].filter((socket) => socket.bytesRead === 0);
    for (const socket of found) if (unused.has(socket)) socket.destroy();
    unused = new Set(found);
  });

  const onSignal = guarded((signal) => shutdown(signal, 'signal'));

  /** Whether the program itself listens for a signal. */
  function programCatches(signal) {
    const foreign = process.listeners(signal).filter((listener) => listener !== onSignal).length;
    // The package signal-exit, a part of many others, only looks on: were it alone, it would raise the signal again.
    const onlookers = [process.__signal_exit_emitter__, globalThis[Symbol.for('signal-exit emitter')]];
    return foreign > onlookers.reduce((sum, emitter) => sum + (Number(emitter?.count) || 0), 0);
  }

  /** How to let the program end itself: by this signal, PM2's message or the other signal. Null if it knows none. */
  const waysOfProgram = guarded((signal, cause) => {
    const emit = (event, ...values) => process.nextTick(() => process.emit(event, ...values));
    const other = signal === 'SIGTERM' ? 'SIGINT' : 'SIGTERM';
    const knowsMessage = process.rawListeners('message').some((listener) => /shutdown/.test(listener.listener || listener));
    if (cause === 'signal' && programCatches(signal)) return () => {}; // Node tells it
    if (knowsMessage) return () => emit('message', 'shutdown');
    if (programCatches(signal)) return () => emit(signal, signal);
    if (programCatches(other)) return () => emit(other, other);
    return null;
  });

  function shutdown(signal, cause) {
    if (stopping) return;
    stopping = true;
    const tellProgram = waysOfProgram(signal, cause);
    announce('draining', { t: 'draining', app_handles: Boolean(tellProgram) });
    closePolitely();
    if (tellProgram) tellProgram();
    else endProcess();
  }

  function endProcess() {
    const parts = [...[...open].map((server) => [server, 'close']), ...endClusterWorkers().map((worker) => [worker, 'exit'])];
    let left = parts.length;
    const leave = () => setImmediate(() => process.exit(0));
    for (const [part, end] of parts) part.once(end, () => (left -= 1) === 0 && leave());
    if (left === 0) leave();
    setTimeout(() => {
      complain(`not drained after ${drainMs} ms: ${live.size} requests, ${upgraded.size} upgraded connections`);
      process.exit(1);
    }, drainMs).unref();
    for (const server of open) if (server.listening) guarded(() => server.close())();
    for (const farewell of upgraded.values()) if (farewell) farewell();
  }

  /** Tells the workers of a cluster primary to end, and keeps the program from replacing them. Returns those alive. */
  function endClusterWorkers() {
    const cluster = require('node:cluster');
    const workers = cluster.isPrimary ? Object.values(cluster.workers).filter((worker) => !worker.isDead()) : [];
    for (const emitter of workers.length > 0 ? [cluster, ...workers] : []) {
      emitter.removeAllListeners('exit').removeAllListeners('disconnect');
    }
    for (const worker of workers) worker.process.kill('SIGTERM');
    return workers;
  }
}
