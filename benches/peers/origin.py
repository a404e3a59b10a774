"""What stands behind every proxy: the servers, the echo for WebSockets, and the certificate in front."""

import contextlib
import os
import re
import socket
import subprocess
import sys
from dataclasses import dataclass

import processes
from template import fill

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = "All doors lead through one frame, and this answer is as small as answers of an API usually are. " + "." * 32
LARGE_BYTES = 1024 * 1024


@dataclass
class Certificates:
    cert: str
    key: str
    both: str


@dataclass
class Origin:
    ports: list
    echo_ports: list
    count_port: int
    large: str  # a file of 1 MiB

    def requests(self):
        """How many requests the origin has taken, this question included."""
        with socket.create_connection(("127.0.0.1", self.count_port), 5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while got := connection.recv(4096):
                answer += got
        return int(re.search(rb"requests\n \d+ \d+ (\d+)", answer).group(1))


def certificates(folder):
    """One P-256 certificate for localhost, made once."""
    os.makedirs(folder, exist_ok=True)
    cert, key, both = (os.path.join(folder, name) for name in ("localhost.crt", "localhost.key", "localhost.pem"))
    if not os.path.exists(both):
        make_certificate("localhost", cert, key)
        with open(both, "w") as file:
            for part in (cert, key):
                with open(part) as text:
                    file.write(text.read())
    return Certificates(cert, key, both)


def make_certificate(name, cert, key):
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "365",
        ]
        + ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", key, "-out", cert],
        check=True,
        capture_output=True,
    )
    os.chmod(key, 0o600)


@contextlib.contextmanager
def servers(folder, nginx, cpus, addresses=("127.0.0.1",)):
    """The origin for the length of a `with` block, on two ports of each of the addresses, all of them loopback."""
    os.makedirs(os.path.join(folder, "tmp"), exist_ok=True)
    with open(os.path.join(folder, "large"), "wb") as file:
        file.write(bytes(LARGE_BYTES))
    ports = [processes.free_port(), processes.free_port()]
    count_port = processes.free_port()
    config = os.path.join(folder, "origin.conf")
    with open(config, "w") as file:
        listen = "".join(f"        listen {address}:{port} backlog=4096;\n" for address in addresses for port in ports)
        user = "user root;" if os.geteuid() == 0 else ""
        names = {"listen": listen, "small": SMALL, "folder": folder, "user": user, "count": count_port}
        file.write(fill("origin.conf", {**names, "open_files": processes.raise_open_files_limit()}))
    echo_ports = [processes.free_port(), processes.free_port()]
    echo = [sys.executable, os.path.join(HERE, "clients", "echo_server.py"), *map(str, echo_ports)]
    with processes.running([nginx, "-p", folder, "-c", config, "-e", "stderr"], folder, cpus) as origin:
        with processes.running(echo, folder, cpus) as echoes:
            processes.until(lambda: connects(ports[1]), origin, 5, "listening")
            processes.until(lambda: connects(echo_ports[1]), echoes, 5, "listening")
            yield Origin(ports, echo_ports, count_port, os.path.join(folder, "large"))


def connects(port):
    with socket.create_connection(("127.0.0.1", port), 1):
        return True
