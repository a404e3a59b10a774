"""Lintel, from this tree."""

import subprocess

from .proxy import ROUTES, Proxy


class Lintel(Proxy):
    name, label = "lintel", "Lintel"

    def find(self, installer):
        return installer.lintel()

    def version(self):
        return subprocess.check_output([self.program, "--version"], text=True).split()[1]

    def command(self, place):
        policies = "[door, secure, branded]"
        routes = "\n".join(
            f'  - {{ name: r{i}, match: {{ path: "/r{i}/*" }}, policies: {policies}, to: web }}' for i in range(ROUTES)
        )
        return [self.program, "run", "-c", self.write(place, "lintel.yaml", "lintel.yaml", routes=routes)]
