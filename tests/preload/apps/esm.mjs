// An ES module with a top-level await before it listens.
import { createServer } from 'node:http';
import { Server } from 'node:net';

await new Promise((resolve) => setImmediate(resolve));
const server = createServer((request, response) => response.end(String(server instanceof Server)));
server.listen(process.env.PORT ?? 3000, '0.0.0.0', 128, () => console.log(`listening ${JSON.stringify(server.address())}`));
