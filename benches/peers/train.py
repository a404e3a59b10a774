"""Takes a Lintel that writes a profile of itself through every workload of the bench, for a build that goes by it.

`scripts/dist` calls this with a binary of `-C profile-generate`; the profiles come to where LLVM_PROFILE_FILE says.
"""

import os
import sys

import origin
import processes
import workloads
from install import Installer
from instructions import fresh
from load import Run
from proxies.lintel import Lintel
from proxies.proxy import Place

SECONDS = 1.5  # of each workload: what is rare must be seen, not measured


def train(folder, program):
    installer = Installer(folder, program)
    for tool in ("wrk", "h2load", "openssl"):
        installer.tool(tool)
    lintel = Lintel()
    lintel.install(installer)
    nginx = installer.debian("nginx", "nginx")
    cpus, load_cpus = processes.cpus_of_proxies_and_of_the_rest()
    certificates = origin.certificates(os.path.join(folder, "certificates"))
    with origin.servers(fresh(folder, "origin"), nginx, load_cpus) as servers:
        for variant in ("plain", "full"):
            ports = [processes.free_port() for _ in range(3)]
            place = Place(fresh(folder, "train"), variant, servers, certificates, *ports, cpus)
            # The profile is written at the end, and must not be cut off.
            with processes.running(lintel.command(place), place.folder, place.cpus, patience=60) as process:
                processes.until(lambda: origin.connects(place.http), process, 60, "listening")
                run = Run(process, place, SECONDS, 0, load_cpus)
                for workload in workloads.ALL:
                    if workload.variant == variant and workload.figure == "cpu":
                        outcome = workload.load(run)
                        print(f"{workload.title}: {outcome.operations} times")
                        if outcome.errors:
                            raise SystemExit(f"{workload.title}: {outcome.error}")


if __name__ == "__main__":
    processes.turn_signals_into_exceptions()
    processes.raise_open_files_limit()
    train(sys.argv[1], sys.argv[2])
