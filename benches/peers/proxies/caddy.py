"""Caddy, from PyPI."""

import subprocess

from .proxy import ROUTES, Proxy


class Caddy(Proxy):
    name, label = "caddy", "Caddy"
    environment = {"GOMAXPROCS": "1"}

    def find(self, installer):
        return installer.script("caddyserver", "caddy")

    def version(self):
        return subprocess.check_output([self.program, "version"], text=True).split()[0].lstrip("v")

    def command(self, place):
        self.environment = {**self.environment, "XDG_DATA_HOME": place.folder, "XDG_CONFIG_HOME": place.folder}
        routes = "\n".join(f"""	handle /r{i}/* {{
		reverse_proxy 127.0.0.1:{place.origin.ports[0]} 127.0.0.1:{place.origin.ports[1]} {{
			lb_policy round_robin
			header_up X-Front-Door bench
			header_up X-Request-Id {{http.request.uuid}}
			header_down -Server
			transport http {{
				keepalive_idle_conns_per_host 1024
				compression off
			}}
		}}
	}}""" for i in range(ROUTES))
        config = self.write(place, "Caddyfile", "Caddyfile", routes=routes)
        return [self.program, "run", "--adapter", "caddyfile", "--config", config]
