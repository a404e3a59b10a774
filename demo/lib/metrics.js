// GET /metrics: a few numbers of this one process. Those of the front door are at Lintel's own metrics address.

import { monitorEventLoopDelay } from 'node:perf_hooks';

import { Router } from 'express';

export function metricsRoute({ settings, flight, cpuPool, chat, echo }) {
  const delay = monitorEventLoopDelay({ resolution: 20 });
  delay.enable();
  const router = Router();

  router.get('/metrics', (req, res) => {
    const lines = [
      metric('demo_requests_total', 'counter', 'Requests taken since the start.', flight.total),
      metric('demo_requests_in_flight', 'gauge', 'Requests being answered, this one included.', flight.count),
      metric('demo_chat_clients', 'gauge', 'Socket.IO clients of this server.', chat.count),
      metric('demo_websockets', 'gauge', 'Open echo WebSockets.', echo.count),
      metric('demo_cpu_queue', 'gauge', 'Tasks that wait for a worker thread.', cpuPool.waiting),
      metric('demo_event_loop_delay_p99_seconds', 'gauge', 'Lateness of the event loop since the last scrape.',
        delay.count > 0 ? delay.percentile(99) / 1e9 : 0),
      metric('process_resident_memory_bytes', 'gauge', 'Resident memory.', process.memoryUsage.rss()),
      metric('demo_up', 'gauge', 'Zero while draining.', flight.draining ? 0 : 1, `index="${settings.index}"`),
    ];
    delay.reset();
    res.type('text/plain; version=0.0.4').send(lines.join(''));
  });
  return router;
}

function metric(name, type, help, value, labels = '') {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${name}${labels && `{${labels}}`} ${value}\n`;
}
