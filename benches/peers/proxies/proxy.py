"""What all proxies have in common: how one is found, configured, started and checked."""

import http.client
import os
import ssl
from dataclasses import dataclass

import processes
from origin import LARGE_BYTES, SMALL
from template import fill

ROUTES = 10


@dataclass
class Place:
    """Where a proxy runs and what is around it."""

    folder: str
    variant: str  # "plain": one route, no log; "full": ten routes, three policies, JSON access log, metrics
    origin: object
    certificates: object
    http: int
    https: int
    extra: int  # metrics
    cpus: set

    def names(self):
        """What a template may name between @ and @."""
        return {
            "http": self.http,
            "https": self.https,
            "extra": self.extra,
            "server_a": self.origin.ports[0],
            "server_b": self.origin.ports[1],
            "echo_a": self.origin.echo_ports[0],
            "echo_b": self.origin.echo_ports[1],
            "cert": self.certificates.cert,
            "key": self.certificates.key,
            "pem": self.certificates.both,
            "open_files": processes.raise_open_files_limit(),
            # nginx's workers would change to another user, who may not read what is below a private folder
            "user": "user root;" if os.geteuid() == 0 else "",
            "folder": self.folder,
        }


class Proxy:
    """A program with its way to be configured and started. `name` selects it on the command line."""

    name = label = package = ""
    environment = {}
    only_workloads = None  # names of the only workloads it takes part in, or None for all

    def find(self, installer):
        """Installs what is missing and returns the path of the program; `processes.Failed` where it cannot be had."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def command(self, place):
        """Writes the config into the place's folder and returns the command that runs it in the foreground."""
        raise NotImplementedError

    def install(self, installer):
        self.program = self.find(installer)
        self.label = f"{self.label} {self.version()}"

    def write(self, place, template, to, **more):
        path = os.path.join(place.folder, to)
        with open(path, "w") as file:
            file.write(fill(template, {**place.names(), **more}, place.variant))
        return path

    def start(self, place):
        """The running proxy, after it has shown that it serves what the origin sends."""
        os.makedirs(os.path.join(place.folder, "tmp"), exist_ok=True)
        process = processes.Process(self.command(place), place.folder, place.cpus, self.environment)
        try:
            processes.until(lambda: serves(place), process, 20, "serving the origin's answer")
        except BaseException:
            process.end()
            raise
        return process


def serves(place):
    """True if small and large bodies come through unchanged, over HTTP and HTTPS; an error says what came instead."""
    trust = ssl.create_default_context(cafile=place.certificates.cert)
    large = bytes(LARGE_BYTES)
    for path, body in (("/r7/small", SMALL.encode()), ("/small", SMALL.encode()), ("/large", large)):
        if path != "/r7/small" and place.variant == "full":
            continue
        for connection in (
            http.client.HTTPConnection("127.0.0.1", place.http, timeout=5),
            http.client.HTTPSConnection("localhost", place.https, timeout=5, context=trust),
        ):
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                got = answer.read()
            except http.client.HTTPException as error:
                raise processes.Failed(f"{path}: {error!r}") from error
            finally:
                connection.close()
            if answer.status != 200 or got != body:
                raise processes.Failed(f"{path}: status {answer.status}, {len(got)} bytes: {got[:80]!r}")
            if place.variant == "full":
                check_edits(answer)
    return True


def check_edits(answer):
    """Every proxy must make the same edits to responses, or it has less to do than the others."""
    wanted = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "x-served-by": "bench"}
    for name, value in wanted.items():
        if answer.getheader(name) != value:
            raise processes.Failed(f"the response has {name}: {answer.getheader(name)}, not {value}")
