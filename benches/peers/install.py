"""Gets the programs to compare with, and the tools that make load.

Tools (wrk, h2load, valgrind, openssl) are installed as Debian packages. Servers are not: installing nginx or haproxy
would start it as a service. Unless they are there already, their packages are only unpacked below target/bench.
The others come from PyPI, as wheels, into a virtual environment below target/bench.
"""

import glob
import os
import re
import shutil
import subprocess
import sys

from processes import Failed

TOOLS = {"wrk": "wrk", "h2load": "nghttp2-client", "valgrind": "valgrind", "openssl": "openssl"}


def say(text):
    print(f"    {text}", flush=True)


class Installer:
    def __init__(self, folder, lintel):
        self.folder, self.built = folder, lintel
        self.lists_are_fresh = False
        os.makedirs(folder, exist_ok=True)

    def lintel(self):
        """A copy of the binary, so that a build during the run changes nothing."""
        if not os.path.exists(self.built):
            raise Failed(f"{self.built} is missing; `make build` makes it")
        copy = os.path.join(self.folder, "lintel")
        shutil.copy2(self.built, copy + ".new")
        os.replace(copy + ".new", copy)
        return copy

    def tool(self, name):
        """Makes sure that a tool is there."""
        if not shutil.which(name):
            say(f"installing {TOOLS[name]} for {name}")
            self._apt("install", "-y", "-qq", "--no-install-recommends", TOOLS[name])
        if not shutil.which(name):
            raise Failed(f"{name} is missing; on Debian: apt-get install {TOOLS[name]}")

    def debian(self, package, program):
        """A server of Debian: the installed one, else its package unpacked and not installed."""
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        if found := shutil.which(program, path=path):
            return found
        root = os.path.join(self.folder, "debian", package)
        if not glob.glob(f"{root}/usr/sbin/{program}"):
            say(f"unpacking Debian's {package}")
            os.makedirs(root, exist_ok=True)
            self._apt("download", "-qq", package, folder=root)
            deb = max(glob.glob(f"{root}/{package}_*.deb"), key=os.path.getmtime)
            subprocess.run(["dpkg-deb", "--extract", deb, root], check=True)
            self._libraries(deb)
        program = f"{root}/usr/sbin/{program}"
        if not os.path.exists(program):
            raise Failed(f"Debian's package {package} has no {program}")
        return program

    def wheel(self, package, pattern):
        """The path of a file in a package of PyPI, by a pattern below site-packages."""
        python = self._environment(package)
        site = subprocess.check_output(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True
        )
        found = glob.glob(os.path.join(site.strip(), pattern))
        if not found:
            raise Failed(f"the package {package} of PyPI has no {pattern}")
        return found[0]

    def script(self, package, name):
        """The path of a program that a package of PyPI puts beside Python."""
        program = os.path.join(os.path.dirname(self._environment(package)), name)
        if not os.path.exists(program):
            raise Failed(f"the package {package} of PyPI has no program {name}")
        return program

    def _environment(self, package):
        environment = os.path.join(self.folder, "venv")
        python = os.path.join(environment, "bin", "python3")
        if not os.path.exists(python):
            self._run([sys.executable, "-m", "venv", environment], "python3-venv may be missing")
        if subprocess.run([python, "-m", "pip", "show", "-q", package], capture_output=True).returncode != 0:
            say(f"installing {package} from PyPI")
            self._run(
                [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", package],
                "not to be had from PyPI",
            )
        return python

    def _libraries(self, deb):
        """Installs the libraries that an unpacked package needs; libraries start nothing."""
        needs = subprocess.check_output(["dpkg-deb", "--field", deb, "Depends", "Pre-Depends"], text=True)
        libraries = sorted(set(re.findall(r"\blib[a-z0-9.+-]+", needs)))
        if libraries:
            self._apt("install", "-y", "-qq", "--no-install-recommends", *libraries)

    def _apt(self, *arguments, folder=None):
        if not shutil.which("apt-get"):
            raise Failed("this system has no apt-get; what is missing must be installed by hand")
        as_root = [] if os.geteuid() == 0 or arguments[0] == "download" else ["sudo"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}

        def apt(*words):
            return subprocess.run(
                [*as_root, "apt-get", *words], cwd=folder, env=environment, capture_output=True, text=True
            )

        ended = apt(*arguments)
        if ended.returncode != 0 and not self.lists_are_fresh:
            self.lists_are_fresh = True
            subprocess.run([*([] if os.geteuid() == 0 else ["sudo"]), "apt-get", "update", "-qq"], capture_output=True)
            ended = apt(*arguments)
        if ended.returncode != 0:
            raise Failed(f"apt-get {' '.join(arguments)}: {ended.stderr.strip()[-300:]}")

    def _run(self, arguments, advice):
        ended = subprocess.run(arguments, capture_output=True, text=True)
        if ended.returncode != 0:
            raise Failed(f"{advice}: {(ended.stderr or ended.stdout).strip()[-300:]}")
