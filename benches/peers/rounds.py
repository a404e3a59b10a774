"""Runs workloads: all programs in turn, round after round, so that what disturbs the machine disturbs them alike."""

import contextlib
import os
import shutil
import time

import processes
from load import Outcome, Run
from processes import Failed
from proxies.proxy import Place


class Rounds:
    """What stays the same over all workloads of a run."""

    def __init__(self, folder, effort, origin, certificates, say):
        self.folder, self.effort, self.origin, self.certificates, self.say = folder, effort, origin, certificates, say
        self.proxy_cpus, self.load_cpus = processes.cpus_of_proxies_and_of_the_rest()

    def place(self, proxy, variant):
        folder = os.path.join(self.folder, "run", proxy.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        ports = [processes.free_port() for _ in range(3)]
        return Place(folder, variant, self.origin, self.certificates, *ports, self.proxy_cpus)

    @contextlib.contextmanager
    def started(self, proxy, variant):
        """The proxy, running and checked, as something to make load on."""
        place = self.place(proxy, variant)
        process = proxy.start(place)
        try:
            yield Run(process, place, self.effort.seconds, self.effort.idle_connections, self.load_cpus)
        finally:
            process.end()

    def workload(self, workload, proxies):
        """[{name of a program: its Outcome}], one of them for each round."""
        proxies = [proxy for proxy in proxies if proxy.only_workloads is None or workload.name in proxy.only_workloads]
        if workload.figure == "memory":
            return [self._fresh(workload, turned(proxies, nth)) for nth in range(self.effort.memory_rounds)]
        with contextlib.ExitStack() as stack:
            runs, refused = {}, {}
            for proxy in proxies:
                try:
                    runs[proxy.name] = stack.enter_context(self.started(proxy, workload.variant))
                except Failed as error:
                    refused[proxy.name] = Outcome(0, 0, 1, f"did not start: {error}")
                    self.say(f"{proxy.label}: {error}")
            ready = [proxy for proxy in proxies if proxy.name in runs]
            for proxy in ready:  # memory is allocated, connections to the servers are made
                run = runs[proxy.name]
                self._one(workload, proxy, Run(**{**vars(run), "seconds": self.effort.warm_up}), "warm-up")
            rounds = []
            for nth in range(self.effort.rounds):
                outcomes = dict(refused)
                for proxy in turned(ready, nth):
                    outcomes[proxy.name] = self._one(workload, proxy, runs[proxy.name], f"round {nth + 1}")
                rounds.append(outcomes)
            return rounds

    def _fresh(self, workload, proxies):
        """Memory is measured on programs that have just been started."""
        outcomes = {}
        for proxy in proxies:
            try:
                with self.started(proxy, workload.variant) as run:
                    outcomes[proxy.name] = self._one(workload, proxy, run, "")
            except Failed as error:
                outcomes[proxy.name] = Outcome(0, 0, 1, str(error))
        return outcomes

    def _one(self, workload, proxy, run, what):
        try:
            outcome = workload.load(run)
        except Failed as error:
            outcome = Outcome(0, 0, 1, str(error))
        if not run.process.alive():
            outcome.errors, outcome.error = outcome.errors + 1, f"ended by itself: {run.process.last_words()}"
        if workload.figure == "memory":
            figure = (
                f"{outcome.memory_each / 1024:8.1f} KiB each" if outcome.memory_each is not None else "      no figure"
            )
        else:
            figure = f"{outcome.cpu_us():8.1f} us" if outcome.cpu_us() else "      no figure"
            figure += f" {outcome.operations / outcome.seconds:9.0f}/s" if outcome.seconds else ""
        trouble = f"   errors: {outcome.errors}, {outcome.error}" if outcome.errors else ""
        self.say(f"{what:8} {proxy.label:32} {figure}{trouble}")
        time.sleep(self.effort.pause)
        return outcome


def turned(items, nth):
    """The same list, another first one each round."""
    shift = nth % max(1, len(items))
    return items[shift:] + items[:shift]
