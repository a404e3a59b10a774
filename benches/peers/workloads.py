"""What is measured: each workload is one kind of traffic, with what counts as one operation."""

from dataclasses import dataclass
from typing import Callable

import load
from origin import LARGE_BYTES


@dataclass
class Workload:
    name: str
    title: str
    unit: str  # what one operation is
    load: Callable  # Run -> load.Outcome
    variant: str = "plain"
    figure: str = "cpu"  # cpu: CPU time for each operation; memory: bytes for each idle connection
    per_cpu_second: str = ""  # "operations", or "GB" where an operation is a body of 1 MiB
    about: str = ""

    def rate(self, cpu_us):
        """Operations, or gigabytes, for each second of CPU time."""
        if not cpu_us or not self.per_cpu_second:
            return None
        return 1e6 / cpu_us * (LARGE_BYTES / 1e9 if self.per_cpu_second == "GB" else 1)


def small(connections):
    return lambda run: load.wrk(run, connections)


ALL = [
    Workload(
        "h1-1",
        "Small responses, HTTP/1.1, 1 connection",
        "request",
        small(1),
        about="One request at a time. Every program sleeps and wakes for each, so the kernel's share is largest here.",
    ),
    Workload("h1-64", "Small responses, HTTP/1.1, 64 connections", "request", small(64)),
    Workload("h1-512", "Small responses, HTTP/1.1, 512 connections", "request", small(512)),
    Workload(
        "h1-new",
        "New connection for each request",
        "request",
        lambda run: load.wrk(run, 64, script=["close"], opening=True),
        about="64 clients at once. Connections to the servers are still kept.",
    ),
    Workload(
        "everything",
        "Everything on",
        "request",
        lambda run: load.wrk(run, 64, path="/r7/small"),
        variant="full",
        about="64 connections; ten routes, three policies that edit requests and responses, a JSON log to a file, "
        "request ids, and metrics. Logs are gathered in memory before they are written, where the program can.",
    ),
    Workload("tls", "Small responses, TLS 1.3, 64 connections", "request", lambda run: load.wrk(run, 64, tls=True)),
    Workload(
        "tls-full",
        "New TLS connection, full handshake, one request",
        "handshake",
        lambda run: load.handshakes(run, 256),
        per_cpu_second="operations",
        about="TLS 1.3, ECDSA P-256, X25519. 256 clients come at once.",
    ),
    Workload(
        "tls-resumed",
        "New TLS connection, resumed, one request",
        "handshake",
        lambda run: load.resumed_handshakes(run, 64),
        per_cpu_second="operations",
        about="64 clients at once, each resuming its last session. Another load than the one above: compare programs "
        "within a table.",
    ),
    Workload(
        "h2",
        "Small responses, HTTP/2 over TLS, 10 connections of 10 streams",
        "request",
        lambda run: load.h2load(run, 10, 10),
    ),
    Workload(
        "download",
        "Responses of 1 MiB",
        "body",
        lambda run: load.wrk(run, 16, path="/large", least_bytes=LARGE_BYTES, opening=True),
        per_cpu_second="GB",
        about="HTTP/1.1, 16 connections.",
    ),
    Workload(
        "upload",
        "Uploads of 1 MiB",
        "body",
        lambda run: load.wrk(run, 16, path="/upload", script=["upload"], least_bytes=1, opening=True),
        per_cpu_second="GB",
        about="HTTP/1.1, 16 connections. The server takes the whole body before it answers.",
    ),
    Workload(
        "ws-echo",
        "WebSocket echo, 64 connections",
        "message",
        lambda run: load.websocket_echo(run, 64),
        per_cpu_second="operations",
        about="100 bytes there and back, one message on its way per connection.",
    ),
    Workload(
        "ws-idle",
        "Memory of an idle WebSocket",
        "WebSocket",
        lambda run: load.idle(run, "websockets.py"),
        figure="memory",
        about="Both sides of it, to the client and to the server.",
    ),
    Workload(
        "idle",
        "Memory of an idle kept-alive connection",
        "connection",
        lambda run: load.idle(run, "idle.py"),
        figure="memory",
        about="Each has served one request.",
    ),
]


def named(names):
    known = {workload.name: workload for workload in ALL}
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown workload {name}; there are: {' '.join(known)}")
    return [known[name] for name in names] if names else ALL
