"""What the kernel says of a program, and what many rounds say together."""

import os
import platform
import re
import statistics
import time
from dataclasses import dataclass


def cpu_seconds(pids):
    """CPU time, user and system, that these processes have used with all their threads, ended ones included.

    This is the scheduler's own sum in nanoseconds (the POSIX CPU clock of a process, 2 is CPUCLOCK_SCHED), the same
    figure as the first field of /proc/PID/task/*/schedstat. /proc/PID/stat counts in ticks of 10 ms.
    """
    total = 0
    for pid in pids:
        try:
            total += time.clock_gettime_ns((~pid << 3) | 2)
        except OSError:
            pass  # ended meanwhile
    return total / 1e9


def user_share(pids):
    """(user, system) in ticks of 10 ms: only good enough for the share that is spent outside the kernel."""
    user = system = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rpartition(")")[2].split()
        except OSError:
            continue
        user, system = user + int(fields[11]), system + int(fields[12])
    return user, system


def memory_bytes(pids):
    """Memory in use: proportional set size, which counts pages that processes share only once (nginx has two)."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as smaps:
                total += int(re.search(r"^Pss:\s+(\d+) kB", smaps.read(), re.M).group(1)) * 1024
        except (OSError, AttributeError):
            pass
    return total


class Account:
    """CPU time of a program between `begin` and `end`."""

    def __init__(self, process):
        self.process = process

    def begin(self):
        self.pids = self.process.tree()
        self.ticks = user_share(self.pids)
        self.cpu = cpu_seconds(self.pids)
        self.since = time.monotonic()

    def end(self):
        """(CPU seconds, share of them outside the kernel or None, share of one CPU that was used)"""
        cpu = cpu_seconds(self.pids) - self.cpu
        wall = time.monotonic() - self.since
        user, system = (now - then for now, then in zip(user_share(self.pids), self.ticks))
        return cpu, (user / (user + system) if user + system >= 20 else None), cpu / wall


@dataclass
class Spread:
    """A median with the lowest and the highest value."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values):
        values = [value for value in values if value is not None]
        return Spread(statistics.median(values), min(values), max(values)) if values else None


def machine():
    """What a reader needs to know of the machine."""
    with open("/proc/cpuinfo") as file:
        model = re.search(r"^model name\s*:\s*(.*)$", file.read(), re.M)
    with open("/proc/meminfo") as file:
        memory = int(re.search(r"^MemTotal:\s+(\d+)", file.read(), re.M).group(1)) / 1024 / 1024
    system = "Linux"
    if os.path.exists("/etc/os-release"):
        with open("/etc/os-release") as file:
            system = re.search(r'^PRETTY_NAME="?([^"\n]*)', file.read(), re.M).group(1)
    with open("/proc/cpuinfo") as file:
        virtual = " hypervisor " in file.read().replace("\n", " ")
    return {
        "cpu": model.group(1).strip() if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "kernel": platform.release(),
        "system": system,
        "virtual": virtual,
    }
