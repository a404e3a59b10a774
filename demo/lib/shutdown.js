// The end, in order: /healthz says 503, no new connections, idle ones closed, WebSockets told to go (1001), running
// requests finished, exit 0. After the deadline what is left is cut; a second signal cuts at once.

import { setTimeout as sleep } from 'node:timers/promises';

export function endOnSignal(parts) {
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, () => {
      signals += 1;
      if (signals > 1) process.exit(0);
      end(parts).catch((error) => {
        console.error(`demo server ${parts.settings.index}: while ending:`, error);
        process.exit(1);
      });
    });
  }
}

async function end({ server, settings, flight, cpuPool, redis, chat, echo }) {
  flight.drain();
  if (settings.drainDelay > 0) await sleep(settings.drainDelay);

  const deadline = setTimeout(() => {
    echo.terminate();
    server.closeAllConnections();
  }, settings.drainTimeout);

  const closed = new Promise((resolve) => server.once('close', resolve));
  server.close();
  echo.close();
  const chatClosed = chat.close();
  // Running requests whose head was out before the signal leave a kept-alive connection behind.
  flight.on('empty', () => setImmediate(() => server.closeIdleConnections()));
  server.closeIdleConnections();

  await closed;
  clearTimeout(deadline);
  await Promise.allSettled([chatClosed, cpuPool.close(), redis?.close()]);
  process.exit(0);
}
