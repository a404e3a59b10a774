"""Makes load on a running proxy and says what came of it, with what the proxy spent meanwhile."""

import json
import math
import os
import re
import socket
import ssl
import sys
import tempfile
import time
from dataclasses import asdict, dataclass

import processes
from measure import Account, memory_bytes
from origin import SMALL
from template import TEMPLATES

HERE = os.path.dirname(os.path.abspath(__file__))
# So that all servers do the same work in TLS; programs that are measured do not see it.
TLS = {"OPENSSL_CONF": os.path.join(TEMPLATES, "openssl.cnf")}

RAMP_SECONDS = 10


@dataclass
class Run:
    """A proxy that runs, and how much load it shall get."""

    process: object
    place: object
    seconds: float
    idle_connections: int
    cpus: set  # for the load


@dataclass
class Outcome:
    """One run of one proxy under one workload."""

    operations: int
    seconds: float
    errors: int
    error: str = ""
    p50_us: float = None
    p99_us: float = None
    cpu_seconds: float = None
    user_share: float = None  # of the CPU time, spent outside the kernel
    busy: float = None  # share of one CPU
    memory: int = None  # bytes, of the whole program
    memory_each: float = None  # bytes, by which an idle connection made it larger

    def cpu_us(self):
        """CPU microseconds for each operation."""
        if not self.operations or self.cpu_seconds is None:
            return None
        return self.cpu_seconds / self.operations * 1e6

    def plain(self):
        return {**asdict(self), "cpu_us": self.cpu_us()}


def accounted(run, work):
    """Runs `work`, which returns an Outcome, and fills in what the proxy spent from its begin to its end."""
    account = Account(run.process)
    account.begin()
    outcome = work()
    outcome.cpu_seconds, outcome.user_share, outcome.busy = account.end()
    outcome.memory = memory_bytes(run.process.tree())
    return outcome


def steady(run, tool, connections):
    """An Outcome of the time in which all connections are open: what they cost to open and to close is not in it.

    The origin says how many requests came through meanwhile. Waits first until each connection had three of them.
    """
    origin = run.place.origin
    wanted, deadline = origin.requests() + 3 * connections, time.monotonic() + RAMP_SECONDS
    while origin.requests() < wanted:
        if time.monotonic() > deadline or not tool.running():
            raise processes.Failed(f"{3 * connections} requests took more than {RAMP_SECONDS} s")
        time.sleep(0.02)

    def work():
        before, began = origin.requests(), time.monotonic()
        time.sleep(run.seconds)
        after, ended = origin.requests(), time.monotonic()
        return Outcome(after - before - 1, ended - began, 0)  # the question itself was one request

    outcome = accounted(run, work)
    if not tool.running():
        raise processes.Failed("the load ended too early")
    return outcome


def wrk(run, connections, path="/small", tls=False, script=(), least_bytes=len(SMALL), opening=False):
    """HTTP/1.1 by wrk: as fast as answers come. With `opening`, the account covers all from the first connection on."""
    address = f"https://localhost:{run.place.https}" if tls else f"http://127.0.0.1:{run.place.http}"
    # It is interrupted before that, or ends by itself should the interrupt come before it listens to it.
    longest = math.ceil(run.seconds) + (2 if opening else RAMP_SECONDS + 2)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{longest}s", "--latency", "--timeout", "10s"]
    command += ["-s", os.path.join(TEMPLATES, "report.lua"), address + path, "--", *script]

    def read(tool, outcome):
        said = json.loads(re.search(r"^JSON (.*)$", tool.printed(longest + 20), re.M).group(1))
        wrong = {name: number for name, number in said["errors"].items() if number}
        outcome.errors = sum(wrong.values())
        if said["bytes"] < said["requests"] * least_bytes:
            outcome.errors, wrong = outcome.errors + 1, {**wrong, "answers were too short": 1}
        outcome.error = ", ".join(f"{name}: {number}" for name, number in wrong.items())
        outcome.p50_us, outcome.p99_us = said["p50_us"], said["p99_us"]
        return said

    def whole(tool):
        time.sleep(run.seconds)
        tool.interrupt()
        outcome = Outcome(0, 0, 0)
        said = read(tool, outcome)
        outcome.operations, outcome.seconds = said["requests"] - said["errors"]["status"], said["seconds"]
        return outcome

    with processes.Tool(command, run.cpus, TLS) as tool:
        if opening:
            return accounted(run, lambda: whole(tool))
        outcome = steady(run, tool, connections)
        tool.interrupt()
        read(tool, outcome)
        return outcome


def h2load(run, connections, streams=1, count=None, path="/small", tls=True, http1=False, upload=False):
    """HTTP/2, or HTTP/1.1, by h2load: in a steady state, or with `count` so many requests and all that they cost."""
    port = run.place.https if tls else run.place.http
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "times")
        command = [
            "h2load",
            "-t1",
            "-c",
            connections,
            "-m",
            streams,
            f"--connect-to=127.0.0.1:{port}",
            "--log-file",
            log,
        ]
        command += ["-n", count] if count else ["-D", f"{round((run.seconds + 1) * 1000)}ms"]
        command += ["--h1"] if http1 else []
        command += ["-d", run.place.origin.large] if upload else []
        command += [f"http{'s' if tls else ''}://localhost:{port}{path}"]

        def read(tool, outcome):
            printed = tool.printed(run.seconds + 300)
            protocol = "http/1.1" if http1 else "h2"
            if f"Application protocol: {protocol}" not in printed:
                raise processes.Failed(f"h2load did not speak {protocol}: {printed[-300:]}")
            took, unit = re.search(r"finished in ([\d.]+)(\w+)", printed).groups()
            done, failed = map(int, re.search(r"(\d+) succeeded, (\d+) failed", printed).groups())
            bad = sum(int(number) for number in re.findall(r"(\d+) [345]xx", printed))
            with open(log) as lines:
                times = sorted(int(fields[2]) for fields in map(str.split, lines) if fields[1] == "200")
            outcome.p50_us, outcome.p99_us = (
                times[int(len(times) * share)] if times else None for share in (0.5, 0.99)
            )
            outcome.errors, outcome.error = failed + bad, f"failed: {failed}, status: {bad}" if failed + bad else ""
            return done, float(took) * {"s": 1, "ms": 1e-3, "us": 1e-6}[unit]

        def whole(tool):
            outcome = Outcome(0, 0, 0)
            outcome.operations, outcome.seconds = read(tool, outcome)
            return outcome

        with processes.Tool(command, run.cpus, TLS) as tool:
            if count:
                return accounted(run, lambda: whole(tool))
            outcome = steady(run, tool, connections)
            read(tool, outcome)
            return outcome


def handshakes(run, clients):
    """So many clients come at once, each for one request: h2load resumes nothing before it has asked once."""
    return h2load(run, clients, count=clients, http1=True)


def resumed_handshakes(run, connections):
    """A new connection for each request; wrk resumes the session of the one before, if the server lets it."""
    check_resumption(run.place.https)
    return wrk(run, connections, tls=True, script=["close"], opening=True)


def check_resumption(port):
    """Raises unless a second TLS 1.3 connection can resume the first."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    session = None
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            with tls.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
                connection.sendall(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise processes.Failed("no answer over TLS")
                session, resumed = connection.session, connection.session_reused
    if not resumed:
        raise processes.Failed("the server does not resume TLS sessions")


def client(run, script, *arguments):
    """A client of ours. It says in a line of JSON when its connections are open, and waits for a word to go on."""
    return processes.Tool([sys.executable, os.path.join(HERE, "clients", script), *arguments], run.cpus)


def websocket_echo(run, connections):
    """One message of 100 bytes on its way on each WebSocket; an operation is a message there and back."""
    with client(run, "websockets.py", "echo", run.place.http, connections, run.seconds) as tool:
        opened = json.loads(tool.line())
        if opened["open"] < connections:
            raise processes.Failed("".join(opened["error"]))

        def work():
            tool.go_on()
            said = json.loads(tool.line())
            errors = said["errors"]["echo"]
            return Outcome(
                said["requests"], said["seconds"], errors, "".join(said["error"]), said["p50_us"], said["p99_us"]
            )

        return accounted(run, work)


def idle(run, client_script):
    """Memory by which so many silent connections make the proxy larger."""
    before = memory_bytes(run.process.tree())
    count = run.idle_connections
    arguments = ["websockets.py", "idle"] if client_script == "websockets.py" else [client_script]
    with client(run, *arguments, run.place.http, count) as tool:
        opened = json.loads(tool.line())
        memory = settled(lambda: memory_bytes(run.process.tree()))
        still_open = held(run.place.http)
        each = (memory - before) / opened["open"] if opened["open"] else None
        errors = count - min(opened["open"], still_open)
        error = "".join(opened["error"]) or ("the proxy closed idle connections" if errors else "")
        return Outcome(opened["open"], 0, errors, error, memory=memory, memory_each=each)


def held(port):
    """How many established connections a port of loopback has, as the kernel lists them."""
    with open("/proc/net/tcp") as table:
        return sum(1 for row in table if f":{port:04X}" in row.split()[1] and row.split()[3] == "01")


def settled(reading, within=3.0):
    """A reading that has not changed by more than 64 KiB for half a second."""
    deadline = time.monotonic() + within
    latest, steady_since = reading(), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() < steady_since + 0.5:
        time.sleep(0.1)
        now = reading()
        if abs(now - latest) > 65536:
            steady_since = time.monotonic()
        latest = now
    return latest
