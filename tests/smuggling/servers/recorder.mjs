// A server of Node's own http module that writes down what it took for requests: one line of JSON each.
//
//   node recorder.mjs            as it comes
//   node recorder.mjs lenient    with the parser that forgives (--insecure-http-parser)
//
// The first line says where it listens; when stdin ends, it ends as soon as its connections have.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const write = (line) => process.stdout.write(JSON.stringify(line) + '\n');
const text = (latin1) => Buffer.from(latin1, 'latin1').toString('utf8');

const server = createServer({
	insecureHTTPParser: process.argv[2] === 'lenient',
	// As much as Lintel passes on.
	maxHeaderSize: 64 * 1024,
	keepAliveTimeout: 0,
	requestTimeout: 0,
	connectionsCheckingInterval: 3_600_000,
});

server.on('request', (request, response) => {
	const hash = createHash('sha256');
	let length = 0;
	const line = `${request.method} ${text(request.url)}`;
	const id = request.headers['x-request-id'];
	request.on('data', (piece) => {
		hash.update(piece);
		length += piece.length;
	});
	request.on('end', () => {
		write({ state: 'whole', id, line, length, digest: hash.digest('hex') });
		response.end(line);
	});
	request.on('error', () => {});
	request.on('close', () => request.complete || write({ state: 'partial', id, line }));
});

// What comes behind a request that was refused is refused again, packet by packet.
const refused = new WeakSet();

server.on('clientError', (error, socket) => {
	if (refused.has(socket)) return;
	refused.add(socket);
	// Without bytes, or at their end, it is a connection that was cut: what was under way has its own line.
	if (error.rawPacket && error.code !== 'HPE_INVALID_EOF_STATE') {
		const raw = error.rawPacket.toString('latin1');
		const words = text(raw).split('\r\n')[0].split(' ');
		// What begins with no request line can be nothing that Lintel logged.
		const line = words.length === 3 ? words.slice(0, 2).join(' ') : `${error.code} in ${JSON.stringify(raw.slice(0, 300))}`;
		write({ state: 'refused', line });
	}
	if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
	else socket.destroy();
});

server.listen(0, '127.0.0.1', 4096, () => write({ listening: server.address().port }));
process.stdin.resume();
process.stdin.on('end', () => server.close());
