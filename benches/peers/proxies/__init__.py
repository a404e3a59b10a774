"""The programs that are measured: one file for each family, and a list of all."""

from . import caddy, envoy, haproxy, lintel, nginx, traefik

ALL = [
    lintel.Lintel(),
    nginx.Debian(),
    nginx.Wheel(),
    nginx.LineByLine(),
    haproxy.Debian(),
    haproxy.Wheel(),
    envoy.Envoy(),
    caddy.Caddy(),
    traefik.Traefik(),
]
