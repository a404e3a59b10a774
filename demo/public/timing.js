// How long a request took by the browser's own record: from when it was sent, without the time it waited in the browser
// for one of the few connections that HTTP/1.1 gets there.

performance.setResourceTimingBufferSize(5000);
performance.addEventListener('resourcetimingbufferfull', () => performance.clearResourceTimings());

let serial = 0;

// Asks for a path under an address of its own, so that its record can be told from others'.
export async function timedFetch(path, options) {
  serial += 1;
  const url = new URL(path, location.href);
  url.searchParams.set('n', serial);
  const began = performance.now();
  const answer = await fetch(url, { cache: 'no-store', ...options });
  const body = await answer.arrayBuffer();
  const ended = performance.now();
  const [record] = performance.getEntriesByName(url.href, 'resource');
  const ms = record?.responseEnd > 0 ? record.responseEnd - record.requestStart : ended - began;
  return { answer, ms, json: () => JSON.parse(new TextDecoder().decode(body)) };
}
