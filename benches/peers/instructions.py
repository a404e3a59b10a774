"""User instructions of Lintel for each request, counted by callgrind: the one figure that repeats on any machine.

Three loads on one process: the first warms it up, then a short and a long one. Their difference is what only requests
cost, without the start (where AWS-LC gathers entropy for as long as it takes) and without connections.
The kernel's share is not counted at all.
"""

import os
import re
import shutil

import load
import origin
import processes
from proxies.lintel import Lintel
from proxies.proxy import Place

CASES = {
    "small": ("small responses, HTTP/1.1, log off", "plain", {"tls": False, "http1": True}),
    "everything": ("everything on", "full", {"tls": False, "http1": True, "path": "/r7/small"}),
    "tls": ("small responses, TLS 1.3", "plain", {"http1": True}),
    "h2": ("small responses, HTTP/2 over TLS, 8 connections of 10 streams", "plain", {"streams": 10}),
    "large": ("responses of 1 MiB", "plain", {"tls": False, "http1": True, "path": "/large"}),
    "upload": ("uploads of 1 MiB", "plain", {"tls": False, "http1": True, "path": "/upload", "upload": True}),
}
CONNECTIONS = 8
COUNTS, COUNTS_LARGE = (500, 500, 2500), (16, 16, 48)  # warm-up, short, long


def counted(lintel, place, case, counts, keep):
    """Instructions of the short and of the long load. The long one's profile is kept."""
    profile = os.path.join(place.folder, "callgrind.out")
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", *lintel.command(place)]
    with processes.running(command, place.folder, place.cpus, patience=60) as process:
        processes.until(lambda: origin.connects(place.http), process, 120, "listening")
        run = load.Run(process, place, 1, 0, place.cpus)
        for requests in counts:
            outcome = load.h2load(run, CONNECTIONS, count=requests, **CASES[case][2])
            if outcome.errors or outcome.operations != requests:
                raise processes.Failed(f"{outcome.operations} of {requests} requests, {outcome.error}")
            with processes.Tool(["callgrind_control", "--dump", process.pid]) as tool:
                tool.printed(60)
    shutil.copy(f"{profile}.3", keep)
    return [total(f"{profile}.{part}") for part in (2, 3)]


def total(profile):
    with open(profile) as file:
        return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M).group(1))


def measure_all(folder, installer, say):
    lintel = Lintel()
    lintel.install(installer)
    nginx = installer.debian("nginx", "nginx")
    cpus, load_cpus = processes.cpus_of_proxies_and_of_the_rest()
    certificates = origin.certificates(os.path.join(folder, "certificates"))
    results = {}
    with origin.servers(fresh(folder, "origin"), nginx, load_cpus) as servers:
        for name, (title, variant, _) in CASES.items():
            counts = COUNTS_LARGE if name in ("large", "upload") else COUNTS
            ports = [processes.free_port() for _ in range(3)]
            place = Place(fresh(folder, "callgrind"), variant, servers, certificates, *ports, cpus)
            keep = os.path.join(folder, f"callgrind.{name}.out")
            try:
                short, long = counted(lintel, place, name, counts, keep)
            except processes.Failed as error:
                say(f"{title}: {error}")
                continue
            each = (long - short) / (counts[2] - counts[1])
            results[name] = {"title": title, "instructions": each, "requests": counts[1:], "counts": [short, long]}
            say(f"{title:64} {each:12,.0f} instructions each")
    say(f"where they go: callgrind_annotate --inclusive=yes {os.path.relpath(folder)}/callgrind.small.out")
    return {"cases": results}


def fresh(folder, name):
    path = os.path.join(folder, "run", name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path
