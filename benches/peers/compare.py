"""From rounds to figures: medians, spreads, ratios within a round, and what the aims say of them. No text, no files."""

from dataclasses import dataclass

from measure import Spread

NGINX = ("nginx", "nginx-new")
HAPROXY = ("haproxy", "haproxy-new")
OTHERS = ("envoy", "caddy", "traefik")


@dataclass
class Row:
    """One program under one workload."""

    name: str
    figure: Spread  # CPU microseconds for each operation, or bytes for each connection
    ratio: Spread = None  # to nginx, within a round; low and high are the ends of a 95 % interval of the median
    rate: float = None  # operations a second
    p50_us: float = None
    p99_us: float = None
    memory: float = None
    errors: int = 0
    error: str = ""
    user_share: float = None


def value(outcome, workload):
    return outcome["memory_each"] if workload.figure == "memory" else outcome["cpu_us"]


def median(rounds, name, key):
    spread = Spread.of([each[name][key] for each in rounds if name in each])
    return spread.median if spread else None


def quartiles(values):
    """The median with the middle half of the values around it."""
    values = sorted(value for value in values if value is not None)
    if not values:
        return None
    return Spread(Spread.of(values).median, values[len(values) // 4], values[-1 - len(values) // 4])


def interval(values):
    """The median with its 95 % interval, by ranks: it asks nothing of how the values are spread."""
    values = sorted(value for value in values if value is not None)
    if not values:
        return None
    reach = 0.98 * len(values) ** 0.5
    low, high = int(len(values) / 2 - reach), int(len(values) / 2 + reach)
    return Spread(Spread.of(values).median, values[max(0, low)], values[min(len(values) - 1, high)])


def ratios(rounds, name, against, workload):
    """Of each round in which both have a figure."""
    found = []
    for each in rounds:
        if name in each and against in each:
            mine, theirs = value(each[name], workload), value(each[against], workload)
            if mine is not None and theirs:
                found.append(mine / theirs)
    return found


def best(rounds, names, workload):
    """The one of these programs with the lowest median."""
    spreads = {name: quartiles([value(each[name], workload) for each in rounds if name in each]) for name in names}
    spreads = {name: spread for name, spread in spreads.items() if spread}
    return min(spreads, key=lambda name: spreads[name].median) if spreads else None


def rows(rounds, workload):
    """A row for each program, in the order in which they are listed."""
    names = list(dict.fromkeys(name for each in rounds for name in each))
    nginx = best(rounds, NGINX, workload)
    found = []
    for name in names:
        mine = [each[name] for each in rounds if name in each]
        seconds = Spread.of([each["operations"] / each["seconds"] for each in mine if each["seconds"]])
        found.append(
            Row(
                name,
                quartiles([value(each, workload) for each in mine]),
                interval(ratios(rounds, name, nginx, workload)) if nginx else None,
                seconds.median if seconds else None,
                median(rounds, name, "p50_us"),
                median(rounds, name, "p99_us"),
                median(rounds, name, "memory"),
                sum(each["errors"] for each in mine),
                next((each["error"] for each in mine if each["error"]), ""),
                median(rounds, name, "user_share"),
            )
        )
    return found


@dataclass
class Verdict:
    """An aim and how far it is."""

    what: str
    against: str
    aim: str
    found: str
    met: bool


# Workload, programs whose best one counts, the ratio that Lintel shall not exceed.
RATIOS = [
    ("h1-1", NGINX + HAPROXY, 0.88),
    ("h1-64", NGINX + HAPROXY, 0.88),
    ("h1-512", NGINX + HAPROXY, 0.88),
    ("everything", NGINX, 0.90),
    ("tls", NGINX + HAPROXY, 0.90),
    ("tls-full", NGINX + HAPROXY, 0.80),
    ("h2", NGINX + HAPROXY, 1.00),
    ("download", NGINX + HAPROXY, 1.00),
    ("upload", NGINX + HAPROXY, 1.00),
    ("ws-echo", NGINX, 0.80),
]
KIBIBYTES = [("idle", 6), ("ws-idle", 12)]
OF_OTHERS = 0.40
OF_GROWTH = 1.05
INSTRUCTIONS = 15_000


def verdicts(load, growth, instructions, workloads):
    """Every aim for which there are results."""
    found = []
    known, labels = {workload.name: workload for workload in workloads}, load.get("programs", {})
    measured = {name: rounds for name, rounds in load.get("workloads", {}).items() if name in known}
    for name, against, aim in RATIOS:
        if name in measured:
            found += against_best(known[name], measured[name], against, aim, labels)
    for name, aim in KIBIBYTES:
        if name in measured and (
            each := quartiles([value(one["lintel"], known[name]) for one in measured[name] if "lintel" in one])
        ):
            kibibytes = each.median / 1024
            found.append(Verdict(known[name].title, "itself", f"{aim} KiB", f"{kibibytes:.1f} KiB", kibibytes <= aim))
    for name, rounds in measured.items():
        if known[name].figure == "cpu":
            found += against_best(known[name], rounds, OTHERS, OF_OTHERS, labels)
    for what, configs in growth.get("costs", {}).items():
        for name, outcomes in configs.items():
            if name != "one":
                spread = growth_ratio(configs, name)
                found.append(
                    Verdict(
                        f"{what}, large config",
                        "a small config",
                        f"{OF_GROWTH:.2f}",
                        shown(spread),
                        spread.median <= OF_GROWTH,
                    )
                )
    if small := instructions.get("cases", {}).get("small"):
        each = small["instructions"]
        found.append(
            Verdict(
                "User instructions of a small exchange",
                "itself",
                f"{INSTRUCTIONS:,}",
                f"{each:,.0f}",
                each <= INSTRUCTIONS,
            )
        )
    return found


def against_best(workload, rounds, names, aim, labels):
    peer = best(rounds, names, workload)
    spread = interval(ratios(rounds, "lintel", peer, workload)) if peer else None
    if not spread:
        return []
    return [Verdict(workload.title, labels.get(peer, peer), f"{aim:.2f}", shown(spread), spread.median <= aim)]


def growth_ratio(configs, name):
    """Cost with a large config against the small one, within rounds."""
    pairs = zip(configs[name], configs["one"])
    return interval(
        [large["cpu_us"] / small["cpu_us"] for large, small in pairs if large["cpu_us"] and small["cpu_us"]]
    )


def shown(spread):
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
