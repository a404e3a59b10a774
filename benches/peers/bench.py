"""The side-by-side load bench; run it as `scripts/bench`. README.md beside this file says what is where."""

import argparse
import contextlib
import datetime
import json
import os
import subprocess
import sys
from dataclasses import dataclass

import growth
import instructions
import measure
import origin
import processes
import proxies
import report
import workloads
from install import Installer
from rounds import Rounds

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "target", "bench")


@dataclass
class Effort:
    """How long everything takes."""

    rounds: int
    seconds: float
    memory_rounds: int
    idle_connections: int
    warm_up: float = 1.0
    pause: float = 0.05


FULL = Effort(rounds=30, seconds=0.4, memory_rounds=3, idle_connections=5000)
QUICK = Effort(rounds=5, seconds=0.3, memory_rounds=1, idle_connections=1000)


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures Lintel side by side with its peers.")
    modes = ["all", "load", "growth", "instructions", "report"]
    about = "load: against peers; growth: large configs; instructions: by callgrind; report: the last results anew"
    parser.add_argument("mode", nargs="?", default="all", choices=modes, help=about)
    parser.add_argument("--quick", action="store_true", help="tiny counts: shows that everything works, in minutes")
    parser.add_argument("--rounds", type=int, help=f"rounds per workload ({FULL.rounds})")
    parser.add_argument("--seconds", type=float, help=f"seconds per run ({FULL.seconds})")
    parser.add_argument("--workloads", metavar="A,B", default="", help=" ".join(each.name for each in workloads.ALL))
    parser.add_argument("--peers", metavar="A,B", default="", help=" ".join(each.name for each in proxies.ALL))
    parser.add_argument("--add", action="store_true", help="keep the last results of workloads that are not run now")
    parser.add_argument(
        "--publish", action="store_true", help="write docs/performance.md and its chart from the results"
    )
    parser.add_argument("--lintel", metavar="PATH", default=os.path.join(ROOT, "target", "dist", "lintel"))
    return parser.parse_args()


def effort_of(wanted):
    effort = QUICK if wanted.quick else FULL
    if wanted.rounds:
        effort.rounds = wanted.rounds
        effort.memory_rounds = min(effort.memory_rounds, wanted.rounds)
    if wanted.seconds:
        effort.seconds = wanted.seconds
    return effort


def install(installer, names):
    """(programs that can be had, {name: why another cannot})"""
    known = {proxy.name: proxy for proxy in proxies.ALL}
    for name in names:
        if name not in known:
            raise SystemExit(f"unknown peer {name}; there are: {' '.join(known)}")
    wanted = [known[name] for name in names] if names else proxies.ALL
    had, missing = [], {}
    for proxy in wanted:
        try:
            proxy.install(installer)
            had.append(proxy)
            say(f"{proxy.label}")
        except (processes.Failed, OSError, subprocess.CalledProcessError) as error:
            missing[proxy.name] = str(error)
            say(f"{proxy.name} cannot be had: {error}")
    return had, missing


def say(text):
    print(f"    {text}", flush=True)


def step(text):
    print(f"==> {text}", flush=True)


def commit():
    """What the tree is at, with a word if its source has been changed since."""

    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--", "src", "Cargo.toml", "Cargo.lock")
    return git("rev-parse", "--short", "HEAD") + (" and changes" if changed else "") or None


def save(name, results):
    path = os.path.join(FOLDER, name)
    with open(path + ".new", "w") as file:
        json.dump(results, file, indent=1)
    os.replace(path + ".new", path)


def run_load(wanted, effort, installer):
    step("Programs")
    had, missing = install(installer, [name for name in wanted.peers.split(",") if name])
    chosen = workloads.named([name for name in wanted.workloads.split(",") if name])
    results = report.read(FOLDER, "load.json") if wanted.add else {}
    results = {
        "date": datetime.date.today().isoformat(),
        "machine": measure.machine(),
        "commit": commit(),
        "effort": vars(effort),
        "programs": {**results.get("programs", {}), **{proxy.name: proxy.label for proxy in had}},
        "missing": missing,
        "load_average": [*results.get("load_average", []), os.getloadavg()[0]],
        "workloads": results.get("workloads", {}),
    }
    nginx = installer.debian("nginx", "nginx")
    certificates = origin.certificates(os.path.join(FOLDER, "certificates"))
    _, load_cpus = processes.cpus_of_proxies_and_of_the_rest()
    with origin.servers(instructions.fresh(FOLDER, "origin"), nginx, load_cpus) as servers:
        rounds = Rounds(FOLDER, effort, servers, certificates, say)
        for workload in chosen:
            step(workload.title)
            outcomes = rounds.workload(workload, had)
            results["workloads"][workload.name] = [
                {name: outcome.plain() for name, outcome in each.items()} for each in outcomes
            ]
            results["load_average"].append(os.getloadavg()[0])
            save("load.json", results)


def run_growth(effort, installer):
    step("Growth: large configs, Lintel alone")
    results = growth.measure_all(FOLDER, effort, installer, say)
    save(
        "growth.json",
        {"date": datetime.date.today().isoformat(), "commit": commit(), "effort": vars(effort), **results},
    )


def run_instructions(installer):
    step("Instructions per request, by callgrind")
    results = instructions.measure_all(FOLDER, installer, say)
    save("instructions.json", {"date": datetime.date.today().isoformat(), "commit": commit(), **results})


def main():
    wanted = arguments()
    processes.turn_signals_into_exceptions()
    processes.raise_open_files_limit()
    installer = Installer(FOLDER, wanted.lintel)
    effort = effort_of(wanted)
    if wanted.mode != "report":
        tools = {
            "load": ["openssl", "wrk", "h2load"],
            "growth": ["openssl", "wrk", "h2load"],
            "instructions": ["openssl", "h2load", "valgrind"],
            "all": ["openssl", "wrk", "h2load", "valgrind"],
        }
        for tool in tools[wanted.mode]:
            installer.tool(tool)
    if wanted.mode in ("all", "load"):
        run_load(wanted, effort, installer)
    if wanted.mode in ("all", "growth"):
        run_growth(effort, installer)
    if wanted.mode in ("all", "instructions"):
        run_instructions(installer)
    text = report.write(FOLDER)
    print(f"\n{text}")
    step(f"Written: {os.path.relpath(FOLDER)}/report.md, chart.svg, and *.json")
    if wanted.publish:
        report.publish(FOLDER, os.path.join(ROOT, "docs"))
        step("Written: docs/performance.md, docs/performance.svg")


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        try:
            main()
        except KeyboardInterrupt:
            sys.exit("\nstopped; everything that was started has ended")
        except processes.Failed as error:
            sys.exit(f"error: {error}")
