// The one connection to Redis, for sessions; chat takes copies of it.

import { createClient } from 'redis';

export async function connectRedis(url) {
  const client = createClient({ url });
  let lastMessage = '';
  client.on('error', (error) => {
    // Redis is tried again and again in the background; one line per kind of failure is enough.
    if (error.message !== lastMessage) console.error(`redis: ${error.message}`);
    lastMessage = error.message;
  });
  client.on('ready', () => {
    lastMessage = '';
  });
  await client.connect();
  return client;
}
