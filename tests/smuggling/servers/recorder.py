"""A server of Python's http.server that writes down what it took for requests: one line of JSON each.

Heads are read by the standard library; bodies as hand-written servers read them, with int() for whatever is a number.
The first line says where it listens; when stdin ends, it ends as soon as its connections have.
"""

import hashlib
import http.server
import json
import socketserver
import sys
import threading

lock = threading.Lock()


def write(**line):
    with lock:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def text(latin1):
    return latin1.encode("latin-1", "replace").decode("utf-8", "replace")


class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline:
            self.close_connection = True
            return
        if not self.parse_request():
            self.wfile.flush()
            return
        # Not self.path, in which the library merges leading slashes.
        line = text(" ".join(self.requestline.split()[:2]))
        identity = self.headers.get("X-Request-Id")
        try:
            body = self.body()
        except (EOFError, OSError):
            write(state="partial", id=identity, line=line)
            self.close_connection = True
            return
        except ValueError as error:
            write(state="refused", line=line, why=str(error))
            self.close_connection = True
            return
        write(state="whole", id=identity, line=line, length=len(body), digest=hashlib.sha256(body).hexdigest())
        answer = line.encode("utf-8", "replace")
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)
        self.wfile.flush()

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self.chunks()
        return self.exactly(int(self.headers.get("Content-Length", "0")))

    def chunks(self):
        body = b""
        while size := int(self.line().split(b";")[0], 16):
            body += self.exactly(size)
            self.line()
        while self.line().strip():
            pass
        return body

    def line(self):
        line = self.rfile.readline(65537)
        if not line.endswith(b"\n"):
            raise EOFError
        return line

    def exactly(self, count):
        body = self.rfile.read(count)
        if len(body) < count:
            raise EOFError
        return body

    def send_error(self, code, message=None, explain=None):
        words = text(self.requestline).split(" ")
        write(state="refused", line=" ".join(words[:-1]), why=f"{code} {message}")
        self.close_connection = True
        super().send_error(code, message, explain)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    # Its end waits for the threads of its connections.
    daemon_threads = False
    request_queue_size = 4096

    def handle_error(self, request, client_address):
        pass


server = Server(("127.0.0.1", 0), Recorder)
write(listening=server.server_port)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
server.shutdown()
server.server_close()
