"""Opens connections, asks once on each, and keeps them. usage: idle.py PORT CONNECTIONS

Prints JSON when all are open; ends when its input ends.
"""

import json
import resource
import socket
import sys

REQUEST = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n"


def ask(connection):
    """One request and its answer, which has a Content-Length or is chunked."""
    connection.sendall(REQUEST)
    answer = b""
    while True:
        got = connection.recv(4096)
        if not got:
            raise OSError("closed before the answer was whole")
        answer += got
        head, found, body = answer.partition(b"\r\n\r\n")
        if not found:
            continue
        if not head.startswith(b"HTTP/1.1 200"):
            raise OSError(f"no 200: {head[:40]!r}")
        lower = head.lower()
        if b"content-length:" in lower:
            if len(body) >= int(lower.split(b"content-length:")[1].split(b"\r\n")[0]):
                return
        elif body.endswith(b"0\r\n\r\n"):
            return


def main(port, count):
    connections, errors = [], []
    for _ in range(count):
        try:
            connection = socket.create_connection(("127.0.0.1", port), 10)
            ask(connection)
            connections.append(connection)
        except OSError as error:
            errors.append(str(error))
            if len(errors) > 20:
                break
    print(json.dumps({"open": len(connections), "error": errors[:1]}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    main(int(sys.argv[1]), int(sys.argv[2]))
