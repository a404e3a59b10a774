"""One picture of all workloads: CPU time against nginx, a row for each workload, a dot for each program."""

import math
from html import escape

import compare

# Families, the better of two builds each, with colours that are told apart by everyone (after Okabe and Ito).
FAMILIES = [
    ("Lintel", ("lintel",), "#d55e00"),
    ("nginx", compare.NGINX, "#222222"),
    ("HAProxy", compare.HAPROXY, "#0072b2"),
    ("Envoy", ("envoy",), "#cc79a7"),
    ("Caddy", ("caddy",), "#009e73"),
    ("Traefik", ("traefik",), "#e69f00"),
]
WIDTH, LEFT, RIGHT, TOP, ROW = 900, 330, 30, 92, 30
LOW, HIGH = 0.3, 12.0


def x_of(ratio):
    share = (math.log(ratio) - math.log(LOW)) / (math.log(HIGH) - math.log(LOW))
    return LEFT + min(1.0, max(0.0, share)) * (WIDTH - LEFT - RIGHT)


def dots(workload, rounds):
    """(family, colour, ratio to the better nginx) for each family that took part"""
    nginx = compare.best(rounds, compare.NGINX, workload)
    for family, names, colour in FAMILIES:
        name = compare.best(rounds, names, workload)
        spread = compare.interval(compare.ratios(rounds, name, nginx, workload)) if name and nginx else None
        if spread:
            yield family, colour, spread


def draw(load, workloads):
    """The chart as SVG text, or an empty one where nginx was not measured."""
    measured = load.get("workloads", {})
    shown = [workload for workload in workloads if workload.figure == "cpu" and workload.name in measured]
    height = TOP + ROW * len(shown) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>CPU time for each operation, against nginx</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="16" y="26" font-size="16" font-weight="600" fill="#222222">'
        "CPU time for each operation, against nginx</text>",
        f'<text x="{WIDTH - RIGHT}" y="26" text-anchor="end" fill="#666666">further left is better; logarithmic</text>',
    ]
    for nth, (family, _, colour) in enumerate(FAMILIES):
        x = 22 + nth * 95
        parts.append(f'<circle cx="{x}" cy="50" r="6" fill="{colour}"/>')
        parts.append(f'<text x="{x + 11}" y="54.5" fill="#222222">{family}</text>')
    for mark in (0.5, 1, 2, 4, 8):
        x, stroke = x_of(mark), "#999999" if mark == 1 else "#e4e4e4"
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 12}" stroke="{stroke}"/>')
        parts.append(f'<text x="{x:.1f}" y="{TOP - 13}" text-anchor="middle" fill="#666666">{mark:g}</text>')
    for nth, workload in enumerate(shown):
        y = TOP + ROW * nth + ROW / 2
        parts.append(f'<text x="16" y="{y + 4.5:.1f}" fill="#222222">{escape(short(workload.title))}</text>')
        # Lintel is drawn last, above the others, with the interval in which its ratio lies.
        for family, colour, spread in reversed(list(dots(workload, measured[workload.name]))):
            x, label = x_of(spread.median), f"{family}, {workload.title}: {spread.median:.2f}"
            if family == "Lintel":
                parts.append(
                    f'<line x1="{x_of(spread.low):.1f}" y1="{y}" x2="{x_of(spread.high):.1f}" y2="{y}" '
                    f'stroke="{colour}" stroke-width="3" stroke-opacity="0.45"/>'
                )
            radius = 7.5 if family == "Lintel" else 5.5
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y}" r="{radius}" fill="{colour}" fill-opacity="0.9" stroke="#ffffff">'
                f"<title>{escape(label)}</title></circle>"
            )
    return "\n".join([*parts, "</svg>", ""])


def short(title):
    title = title.replace("Small responses, ", "").replace(
        " over TLS, 10 connections of 10 streams", " over TLS, 10 × 10"
    )
    title = title.replace(" connections", " conn.").replace(" connection", " conn.")
    return title[0].upper() + title[1:]
