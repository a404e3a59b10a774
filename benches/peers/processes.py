"""Processes that the bench starts, and their certain end.

Whatever is started here ends with the bench: when all went well, on an error, on Ctrl-C, and by the kernel's hand
(PR_SET_PDEATHSIG) should the bench itself be killed. Nothing else is ever signalled.
"""

import contextlib
import ctypes
import os
import random
import resource
import signal
import socket
import subprocess
import time

LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
# Below the range that the kernel takes for outgoing connections (32768 and up), so that none of those is in the way.
PORTS = list(range(20000, 32000))
random.shuffle(PORTS)


class Failed(Exception):
    """A program did not start, or did not serve. The message is for people."""


def cpus_of_proxies_and_of_the_rest():
    """The last CPU is for the program that is measured, the others for load and servers. With one CPU all share it."""
    cpus = sorted(os.sched_getaffinity(0))
    return ({cpus[-1]}, set(cpus[:-1])) if len(cpus) > 1 else (set(cpus), set(cpus))


def raise_open_files_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port():
    """A port on loopback that nobody listens on, and that this run has not handed out before."""
    while PORTS:
        port = PORTS.pop()
        with socket.socket() as probe:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise Failed("no free port between 20000 and 32000")


class Process:
    """A running program with its output in a file."""

    def __init__(self, arguments, folder, cpus=None, environment=None):
        self.log = os.path.join(folder, os.path.basename(arguments[0]) + ".out")
        self.name = os.path.basename(arguments[0])
        parent = os.getpid()

        def before_exec():
            # TERM and not KILL: nginx's master passes it on to its workers, which the kernel would not end.
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)
            if cpus:
                os.sched_setaffinity(0, cpus)

        with open(self.log, "wb") as log:
            self.child = subprocess.Popen(
                [str(part) for part in arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                start_new_session=True,  # so that Ctrl-C reaches the bench alone, which then ends this in order
                preexec_fn=before_exec,
            )
        self.pid = self.child.pid

    def alive(self):
        return self.child.poll() is None

    def tree(self):
        """Process ids of the program and all that it started."""
        found, waiting = [], [self.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/children") as children:
                        waiting += [int(child) for child in children.read().split()]
        return found

    def signal(self, number):
        if self.alive():
            self.child.send_signal(number)

    def end(self, patience=5.0):
        """Asks with SIGTERM, and insists with SIGKILL on the whole group, which is of this program alone."""
        self.signal(signal.SIGTERM)
        try:
            self.child.wait(patience)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.child.wait()

    def last_words(self):
        with open(self.log, errors="replace") as log:
            return "\n".join(log.read().strip().splitlines()[-8:])


@contextlib.contextmanager
def running(arguments, folder, cpus=None, environment=None, patience=5.0):
    """A process for the length of a `with` block."""
    process = Process(arguments, folder, cpus, environment)
    try:
        yield process
    finally:
        process.end(patience)


def until(condition, process, seconds, what, pause=0.01):
    """Waits for a condition while the process is alive; the last error of the condition is part of the message."""
    deadline = time.monotonic() + seconds
    trouble = None
    while time.monotonic() < deadline:
        if not process.alive():
            raise Failed(f"{process.name} ended by itself:\n{process.last_words()}")
        try:
            if condition():
                return
        except (OSError, Failed) as error:
            trouble = error
        time.sleep(pause)
    raise Failed(f"{process.name}: {what} not within {seconds:.0f} s ({trouble})\n{process.last_words()}")


class Tool:
    """A tool that runs to its end beside us, in a `with` block; it never outlives the block."""

    def __init__(self, arguments, cpus=None, environment=None):
        self.arguments = [str(part) for part in arguments]
        parent = os.getpid()

        def before_exec():
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)
            if cpus:
                os.sched_setaffinity(0, cpus)

        self.child = subprocess.Popen(
            self.arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
            preexec_fn=before_exec,
        )

    def __enter__(self):
        return self

    def running(self):
        return self.child.poll() is None

    def interrupt(self):
        """Presses Ctrl-C for it: wrk then stops and reports, and it knows no duration shorter than a second."""
        self.child.send_signal(signal.SIGINT)

    def printed(self, seconds):
        """What it printed until its end, for which it has so many seconds."""
        try:
            printed, complaints = self.child.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.arguments[0]} did not end within {seconds:.0f} s") from None
        if self.child.returncode != 0:
            command = " ".join(self.arguments)[:200]
            raise Failed(f"{command} ended with {self.child.returncode}:\n{(complaints + printed)[-600:]}")
        return printed

    def line(self):
        """The next line that it prints."""
        text = self.child.stdout.readline()
        if not text:
            raise Failed(f"{' '.join(self.arguments)[:200]} ended by itself:\n{self.child.stderr.read()[-600:]}")
        return text

    def go_on(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def __exit__(self, failed, *_):
        with contextlib.suppress(OSError):
            self.child.stdin.close()
        try:
            self.child.wait(0 if failed else 5)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


def turn_signals_into_exceptions():
    """SIGTERM and SIGHUP leave through the same `finally` blocks as Ctrl-C."""

    def leave(number, _frame):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is started with it ignored
