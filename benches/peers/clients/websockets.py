"""Opens WebSockets, and either lets messages go round or lets the connections lie.

usage: websockets.py echo PORT CONNECTIONS SECONDS    one message on its way per connection; prints JSON at the end
       websockets.py idle PORT CONNECTIONS            prints JSON when all are open; ends when its input ends
"""

import json
import resource
import select
import socket
import sys
import time

HANDSHAKE = (
    b"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
ACCEPTED = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # what RFC 6455 1.3 derives from that key
BODY = b"There and back again: a message of one hundred bytes, which is about what a chat sends at a time. 100!!"[:100]
MASK = b"\x1f\x2e\x3d\x4c"
SENT = b"\x82" + bytes((0x80 | len(BODY),)) + MASK + bytes(byte ^ MASK[i % 4] for i, byte in enumerate(BODY))
WANTED = b"\x82" + bytes((len(BODY),)) + BODY


def connect(port):
    """An open WebSocket after one message there and back, or an error."""
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(HANDSHAKE)
    head = b""
    while b"\r\n\r\n" not in head:
        got = connection.recv(4096)
        if not got:
            raise OSError("closed in the handshake")
        head += got
    if not head.startswith(b"HTTP/1.1 101") or ACCEPTED not in head:
        raise OSError(f"no WebSocket: {head[:60]!r}")
    connection.sendall(SENT)
    answer = b""
    while len(answer) < len(WANTED):
        got = connection.recv(4096)
        if not got:
            raise OSError("closed before the first message came back")
        answer += got
    if answer != WANTED:
        raise OSError(f"another message came back: {answer[:20]!r}")
    return connection


def open_all(port, count):
    connections, errors = [], []
    for _ in range(count):
        try:
            connections.append(connect(port))
        except OSError as error:
            errors.append(str(error))
            if len(errors) > 20:
                break
    return connections, errors


def echo(port, count, seconds):
    connections, errors = open_all(port, count)
    poll = select.epoll()
    by_number, sent_at, pending, times = {}, {}, {}, []
    for connection in connections:
        connection.setblocking(False)
        number = connection.fileno()
        by_number[number], pending[number] = connection, b""
        poll.register(connection, select.EPOLLIN)
    print(json.dumps({"open": len(connections), "error": errors[:1]}), flush=True)
    sys.stdin.readline()  # the account of the proxy's CPU time begins here
    began = now = time.perf_counter()
    for number, connection in by_number.items():
        sent_at[number] = time.perf_counter()
        connection.send(SENT)
    clock, size = time.perf_counter, len(WANTED)
    while by_number and now < began + seconds:
        for number, _ in poll.poll(1):
            connection = by_number[number]
            try:
                got = pending[number] + connection.recv(4096)
                if len(got) < size and got:
                    pending[number] = got
                    continue
                if got != WANTED:
                    raise OSError(f"another message came back: {got[:20]!r}")
                pending[number] = b""
                now = clock()
                times.append(now - sent_at[number])
                sent_at[number] = now
                connection.send(SENT)
            except OSError as error:
                errors.append(str(error))
                poll.unregister(connection)
                del by_number[number]
        now = clock()
    times.sort()
    result = {"requests": len(times), "seconds": now - began, "errors": {"echo": len(errors)}, "error": errors[:1]}
    for name, share in (("p50_us", 0.5), ("p99_us", 0.99)):
        result[name] = round(times[min(len(times) - 1, int(len(times) * share))] * 1e6) if times else None
    print(json.dumps(result), flush=True)


def idle(port, count):
    connections, errors = open_all(port, count)
    print(json.dumps({"open": len(connections), "error": errors[:1]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if sys.argv[1] == "echo":
        echo(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        idle(int(sys.argv[2]), int(sys.argv[3]))
