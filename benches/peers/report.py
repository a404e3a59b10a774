"""Results as Markdown: tables of each workload, the large configs, the instructions, and where Lintel stands."""

import json
import os

import chart
import compare
import measure
import workloads
from growth import TITLES
from template import TEMPLATES


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return {}
    with open(path) as file:
        return json.load(file)


def table(head, lines):
    """A Markdown table; all columns but the first are figures."""
    rule = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, rule, *lines])


def number(value, digits=None):
    """Three significant digits, or the digits asked for; a dash for what is not known."""
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def spread(each, scale=1.0):
    if each is None:
        return "–"
    return f"{number(each.median / scale)} ({number(each.low / scale)}–{number(each.high / scale)})"


def microseconds(value):
    if value is None:
        return "–"
    return f"{number(value / 1000)} ms" if value >= 1000 else f"{number(value, 0)} µs"


def plural(unit):
    return f"{unit[:-1]}ies" if unit.endswith("y") else f"{unit}s"


def workload_table(workload, rounds, labels):
    rows = compare.rows(rounds, workload)

    def name(row):
        return ("**{}**" if row.name == "lintel" else "{}").format(labels.get(row.name, row.name))

    def ratio(row):
        return compare.shown(row.ratio) if row.ratio else "–"

    def mebibytes(row):
        return number(row.memory / 1048576) if row.memory else "–"

    if workload.figure == "memory":
        head = ["", f"KiB per {workload.unit}", "against nginx", "whole, MiB", "errors"]
        lines = [[name(row), spread(row.figure, 1024), ratio(row), mebibytes(row), row.errors] for row in rows]
    else:
        head = [
            "",
            f"CPU µs per {workload.unit}",
            "against nginx",
            f"{plural(workload.unit)}/s",
            "p50",
            "p99",
            "memory, MiB",
            "errors",
        ]
        if workload.per_cpu_second:
            head.insert(2, f"{'GB' if workload.per_cpu_second == 'GB' else plural(workload.unit)} per CPU second")
        lines = []
        for row in rows:
            line = [name(row), spread(row.figure), ratio(row), number(row.rate, 0), microseconds(row.p50_us)]
            line += [microseconds(row.p99_us), mebibytes(row), row.errors]
            if workload.per_cpu_second:
                line.insert(2, number(workload.rate(row.figure.median) if row.figure else None))
            lines.append(line)
    trouble = [
        f"- {name(row)}, errors: {row.errors}. The first: {row.error.splitlines()[0]}" for row in rows if row.error
    ]
    parts = [f"### {workload.title}", workload.about, table(head, lines), "\n".join(trouble)]
    return "\n\n".join(part for part in parts if part)


def growth_tables(growth):
    if not growth:
        return "Not measured."
    lines = []
    for name, figures in growth["times"].items():
        reloads = [each for each in figures["reload"] if each is not None]
        reload = f"{number(measure.Spread.of(reloads).median * 1000)} ms" if reloads else "no reload by SIGHUP"
        start, memory = (measure.Spread.of(figures[key]).median for key in ("start", "memory"))
        lines.append([TITLES[name], f"{number(start * 1000)} ms", reload, number(memory / 1048576)])
    parts = [table(["", "start to first answer", "SIGHUP to first answer", "memory, MiB"], lines)]
    lines = []
    for what, configs in growth["costs"].items():
        for name, outcomes in configs.items():
            figure = compare.quartiles([each["cpu_us"] for each in outcomes])
            against = "" if name == "one" else compare.shown(compare.growth_ratio(configs, name))
            lines.append([f"{what}: {TITLES[name]}", spread(figure), against, sum(each["errors"] for each in outcomes)])
    parts.append(table(["", "CPU µs each", "against 1 route", "errors"], lines))
    return "\n\n".join(parts)


def instruction_table(instructions):
    if not instructions.get("cases"):
        return "Not measured."
    lines = [[each["title"], number(each["instructions"], 0)] for each in instructions["cases"].values()]
    return table(["", "user instructions each"], lines)


def losses(load):
    """Where another program needs less than Lintel, in words, the largest loss first."""
    found = []
    for workload in workloads.ALL:
        rounds = load.get("workloads", {}).get(workload.name, [])
        names = [name for name in dict.fromkeys(name for each in rounds for name in each) if name != "lintel"]
        peer = compare.best(rounds, names, workload)
        ratio = compare.interval(compare.ratios(rounds, "lintel", peer, workload)) if peer else None
        if ratio and ratio.median > 1:
            label = load["programs"].get(peer, peer)
            sure = "" if ratio.low > 1 else "; within the noise"
            found.append((ratio.median, f"- {workload.title}: {ratio.median:.2f} times {label}{sure}"))
    return "\n".join(line for _, line in sorted(found, reverse=True)) or "- Nowhere, in this run."


def aims(load, growth, instructions):
    found = compare.verdicts(load, growth, instructions, workloads.ALL)
    lines = [[each.what, each.against, each.aim, each.found, "yes" if each.met else "**no**"] for each in found]
    return table(["", "against", "at most", "measured", "reached"], lines)


def machine(load):
    about = load.get("machine") or measure.machine()
    kind = "virtual machine" if about["virtual"] else "machine"
    noise = ""
    if averages := load.get("load_average"):
        noise = f" The load average over the run was {min(averages):.1f} to {max(averages):.1f}"
        noise += "; above about 2, other work was going on beside it." if max(averages) > 2 else "."
    if load.get("effort", {}).get("rounds", 30) < 20:
        noise += " This was a quick run: its intervals are wide."
    return (
        f"{about['cpu']}, {about['cores']} cores of a {kind}, {about['memory_gib']:.0f} GiB, "
        f"{about['system']}, kernel {about['kernel']}.{noise}"
    )


def parts_of(folder):
    load, growth, instructions = (read(folder, f"{name}.json") for name in ("load", "growth", "instructions"))
    labels, measured = load.get("programs", {}), load.get("workloads", {})
    tables = [workload_table(each, measured[each.name], labels) for each in workloads.ALL if each.name in measured]
    missing = [f"- {name} could not be had: {why.splitlines()[0]}" for name, why in load.get("missing", {}).items()]
    effort = load.get("effort", {})
    return {
        "machine": machine(load),
        "date": load.get("date", "never"),
        "commit": load.get("commit") or "unknown",
        "programs": ", ".join(label for name, label in labels.items() if name not in ("lintel", "nginx-lines")),
        "missing": "\n".join(missing),
        "rounds": effort.get("rounds", "–"),
        "seconds": effort.get("seconds", "–"),
        "idle": f"{effort.get('idle_connections', 0):,}",
        "losses": losses(load),
        "aims": aims(load, growth, instructions),
        "tables": "\n\n".join(tables) or "Not measured.",
        "growth": growth_tables(growth),
        "instructions": instruction_table(instructions),
    }


def fill(name, parts):
    with open(os.path.join(TEMPLATES, name)) as file:
        text = file.read()
    for word, part in parts.items():
        text = text.replace(f"@{word}@", str(part))
    return "\n".join(line.rstrip() for line in text.replace("\n\n\n", "\n\n").splitlines()) + "\n"


def write(folder):
    """report.md and chart.svg, beside the JSON they are made of; returns the tables for the terminal."""
    parts = parts_of(folder)
    with open(os.path.join(folder, "report.md"), "w") as file:
        file.write(fill("performance.page", parts))
    load = read(folder, "load.json")
    with open(os.path.join(folder, "chart.svg"), "w") as file:
        file.write(chart.draw(load, workloads.ALL))
    sections = ["tables", "growth", "instructions", "losses", "aims", "missing"]
    return "\n\n".join(f"## {name.capitalize()}\n\n{parts[name]}" for name in sections if parts[name])


def publish(folder, docs):
    """The page of the documentation and its chart, from the last results."""
    load = read(folder, "load.json")
    with open(os.path.join(docs, "performance.svg"), "w") as file:
        file.write(chart.draw(load, workloads.ALL))
    with open(os.path.join(docs, "performance.md"), "w") as file:
        file.write(fill("performance.page", parts_of(folder)))
