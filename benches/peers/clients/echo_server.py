"""A WebSocket server that sends every message back. usage: echo_server.py PORT PORT

Nothing of a WebSocket beyond what an echo needs: unfragmented messages below 64 KiB, and no pings.
"""

import base64
import hashlib
import resource
import select
import socket
import sys

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
BINARY, CLOSE = 0x82, 0x8


def answer_handshake(head):
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"sec-websocket-key":
            accept = base64.b64encode(hashlib.sha1(value.strip() + MAGIC).digest())
            return (
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
    return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def unmask(mask, body):
    """XOR of the whole body at once, as one large number: Python's bytes have no faster way."""
    size = len(body)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(body, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


def echo(data):
    """(answers to all complete messages, what is left over or None after a close)"""
    answers = []
    while len(data) >= 6:
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        if len(data) < start + 4 + size:
            break
        if data[0] & 0xF == CLOSE:
            return b"".join(answers) + b"\x88\x00", None
        body = unmask(data[start : start + 4], data[start + 4 : start + 4 + size])
        answers.append(bytes((BINARY, size)) if size < 126 else bytes((BINARY, 126)) + size.to_bytes(2, "big"))
        answers.append(body)
        data = data[start + 4 + size :]
    return b"".join(answers), data


def main(ports):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    poll, listeners, connections = select.epoll(), {}, {}
    for port in ports:
        listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        listener.setblocking(False)
        listeners[listener.fileno()] = listener
        poll.register(listener, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if listener := listeners.get(number):
                connection, _ = listener.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[connection.fileno()] = [connection, b"", False]
                poll.register(connection, select.EPOLLIN)
                continue
            state = connections[number]
            connection, pending, open_ = state
            try:
                got = connection.recv(65536)
                data = pending + got
                if open_:
                    answers, state[1] = echo(data)
                    connection.sendall(answers)
                elif b"\r\n\r\n" in data:
                    head, _, state[1] = data.partition(b"\r\n\r\n")
                    connection.sendall(answer_handshake(head))
                    state[2] = True
                else:
                    state[1] = data
                ended = not got or state[1] is None
            except OSError:
                ended = True
            if ended:
                poll.unregister(connection)
                connection.close()
                del connections[number]


if __name__ == "__main__":
    main([int(port) for port in sys.argv[1:]])
