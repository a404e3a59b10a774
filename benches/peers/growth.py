"""Lintel alone, with large configs: time to start and to reload, memory, and cost per request against one route."""

import contextlib
import http.client
import os
import shutil
import signal
import time

import load
import measure
import origin
import processes
from rounds import turned

ROUTES, POOLS, SERVERS, CERTIFICATES = 1000, 100, 100, 1000
MARK = "/reload-mark"  # a route that answers by itself; a reload is done when its answer is the new one
RELOAD_SECONDS = 10
TITLES = {
    "one": "1 route, 1 pool of 2 servers, 1 certificate",
    "routes": f"{ROUTES:,} routes",
    "pools": f"{POOLS} pools of {SERVERS} servers, a route for each",
    "certificates": f"{CERTIFICATES:,} certificates",
}


class Config:
    """One of the configs: writes its file, and anew with another mark."""

    def __init__(self, name, folder, servers, certificates, many):
        self.name, self.folder, self.servers, self.many = name, folder, servers, many
        self.origin, self.certificates = servers, certificates
        self.http, self.https = processes.free_port(), processes.free_port()
        self.path = os.path.join(folder, "lintel.yaml")

    def write(self, mark):
        ports = self.servers.ports
        pools = {"web": [f"127.0.0.1:{port}" for port in ports]}
        routes = [f'  - {{ name: mark, match: {{ path: {MARK} }}, respond: {{ status: 200, body: "{mark}" }} }}']
        certificates = [(self.certificates.cert, self.certificates.key)]
        if self.name == "pools":
            pools = {f"p{i}": [f"127.0.0.{n}:{ports[0]}" for n in range(1, SERVERS + 1)] for i in range(POOLS)}
            routes += [f'  - {{ name: r{i}, match: {{ path: "/r{i}/*" }}, to: p{i} }}' for i in range(POOLS)]
        elif self.name == "routes":
            routes += [f'  - {{ name: r{i}, match: {{ path: "/r{i}/*" }}, to: web }}' for i in range(ROUTES)]
        else:
            routes += ["  - { name: site, to: web }"]
        if self.name == "certificates":
            certificates += self.many
        lines = ["listeners:", f'  http: {{ address: "127.0.0.1:{self.http}" }}', "  https:"]
        lines += [f'    address: "127.0.0.1:{self.https}"', "    tls:", "      certificates:"]
        lines += [f"        - {{ cert: {cert}, key: {key} }}" for cert, key in certificates]
        lines += ["defaults: { balance: round_robin, idle_connections: 1024 }", "pools:"]
        lines += [
            f"  {name}: {{ servers: [{', '.join(map(quoted, addresses))}] }}" for name, addresses in pools.items()
        ]
        lines += ["routes:", *routes, "observability: { access_log: off }"]
        lines += ["runtime: { threads: 1, drain_timeout: 1s, state_directory: state, run_directory: run }"]
        with open(self.path + ".new", "w") as file:
            file.write("\n".join(lines) + "\n")
        os.replace(self.path + ".new", self.path)

    def mark(self):
        """What the marked route answers now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=5)
        try:
            connection.request("GET", MARK)
            return connection.getresponse().read().decode()
        except http.client.HTTPException as error:
            raise processes.Failed(repr(error)) from error
        finally:
            connection.close()


def quoted(text):
    return f'"{text}"'


def start(program, config, cpus):
    """(the running process, seconds from its start to its first answer)"""
    config.write("before")
    began = time.monotonic()
    process = processes.Process([program, "run", "-c", config.path], config.folder, cpus)
    try:
        processes.until(lambda: config.mark() == "before", process, 60, "the first answer", pause=0.001)
    except BaseException:
        process.end()
        raise
    return process, time.monotonic() - began


def reload(process, config, mark):
    """Seconds from SIGHUP to the first answer by the new config, or None where none comes."""
    config.write(mark)
    began = time.monotonic()
    process.signal(signal.SIGHUP)
    while time.monotonic() < began + RELOAD_SECONDS:
        if not process.alive():
            raise processes.Failed(f"ended by SIGHUP:\n{process.last_words()}")
        if config.mark() == mark:
            return time.monotonic() - began
        time.sleep(0.001)
    return None


def many_certificates(folder, say):
    """A thousand certificates of their own names, made once."""
    os.makedirs(folder, exist_ok=True)
    pairs = [(os.path.join(folder, f"{i}.crt"), os.path.join(folder, f"{i}.key")) for i in range(CERTIFICATES)]
    missing = [(i, pair) for i, pair in enumerate(pairs) if not os.path.exists(pair[0])]
    if missing:
        say(f"making {len(missing)} certificates")
    for i, (cert, key) in missing:
        origin.make_certificate(f"host-{i}.example.com", cert + ".new", key)
        os.replace(cert + ".new", cert)
    return pairs


def start_times(program, configs, effort, cpus, say):
    """{name: {start, reload, memory}}, of several starts."""
    found = {config.name: {"start": [], "reload": [], "memory": []} for config in configs}
    for nth in range(max(3, effort.memory_rounds)):
        for config in turned(configs, nth):
            process, seconds = start(program, config, cpus)
            try:
                figures = found[config.name]
                figures["start"].append(seconds)
                figures["memory"].append(measure.memory_bytes(process.tree()))
                if None not in figures["reload"]:  # the first one that did not come is enough
                    figures["reload"].append(reload(process, config, f"after-{nth}"))
            finally:
                process.end()
    for config in configs:
        figures = found[config.name]
        reloads = [each for each in figures["reload"] if each is not None]
        say(
            f"{TITLES[config.name]:48} start {min(figures['start']) * 1000:7.1f} ms   "
            + (f"reload {min(reloads) * 1000:7.1f} ms" if reloads else "no reload by SIGHUP")
            + f"   {min(figures['memory']) / 1048576:6.1f} MiB"
        )
    return found


# What is asked of each config. Cycling through all routes costs wrk more, and the proxy nothing.
COSTS = {
    "small requests over all routes": (["routes"], lambda run: load.wrk(run, 64, script=["routes", str(ROUTES)])),
    "small requests to one pool": (["pools"], lambda run: load.wrk(run, 64, path="/r50/small")),
    "small requests over TLS": (["certificates"], lambda run: load.wrk(run, 64, tls=True)),
    "full TLS handshakes": (["certificates"], lambda run: load.handshakes(run, 256)),
}


def costs(program, configs, effort, cpus, load_cpus, say):
    """{what is asked: {name of a config: [Outcome of each round]}}, each beside the config with one route."""
    by_name, found = {config.name: config for config in configs}, {}
    with contextlib.ExitStack() as stack:
        runs = {}
        for config in configs:
            process, _ = start(program, config, cpus)
            stack.callback(process.end)
            runs[config.name] = load.Run(process, config, effort.seconds, 0, load_cpus)
        for what, (names, ask) in COSTS.items():
            names = ["one", *names]
            outcomes = {name: [] for name in names}
            for nth in range(-1, effort.rounds):
                for name in turned(names, nth):
                    outcome = ask(runs[name])
                    if nth >= 0:  # the first round warms up
                        outcomes[name].append(outcome)
            found[what] = {name: [outcome.plain() for outcome in each] for name, each in outcomes.items()}
            for name, each in outcomes.items():
                spread = measure.Spread.of([outcome.cpu_us() for outcome in each])
                errors = sum(outcome.errors for outcome in each)
                say(f"{what:32} {TITLES[by_name[name].name]:48} {spread.median:7.1f} us  {errors} errors")
    return found


def measure_all(folder, effort, installer, say):
    program, nginx = installer.lintel(), installer.debian("nginx", "nginx")
    cpus, load_cpus = processes.cpus_of_proxies_and_of_the_rest()
    certificates = origin.certificates(os.path.join(folder, "certificates"))
    many = many_certificates(os.path.join(folder, "certificates", "many"), say)
    run_folder = os.path.join(folder, "run", "growth")
    shutil.rmtree(run_folder, ignore_errors=True)
    os.makedirs(os.path.join(run_folder, "origin"))
    addresses = [f"127.0.0.{n}" for n in range(1, SERVERS + 1)]
    with origin.servers(os.path.join(run_folder, "origin"), nginx, load_cpus, addresses) as servers:
        configs = []
        for name in TITLES:
            os.makedirs(os.path.join(run_folder, name))
            configs.append(Config(name, os.path.join(run_folder, name), servers, certificates, many))
        times = start_times(program, configs, effort, cpus, say)
        return {"times": times, "costs": costs(program, configs, effort, cpus, load_cpus, say)}
