"""Holds the instructions of each hot piece, counted by callgrind, against budget.json; run it as `scripts/budget`.

The program is built like the tests' own but optimised, which takes one build of the library and no release build: its
counts are higher than a release build's, and as steady. They follow the compiler a little, so where that is not the one
that the budget was made with, the slack is wider.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BUDGET = os.path.join(HERE, "budget.json")
TIMES = 400
SLACK, SLACK_OTHER_COMPILER = 0.10, 0.30


def build():
    """The path of the program."""
    environment = {**os.environ, "CARGO_PROFILE_DEV_OPT_LEVEL": "2", "CARGO_PROFILE_DEV_INCREMENTAL": "false"}
    command = ["cargo", "build", "--locked", "--quiet", "--bench", "hot", "--message-format=json-render-diagnostics"]
    output = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in output.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "hot":
            return message["executable"]
    raise SystemExit("budget: cargo built no program")


def counted(program):
    """{piece: instructions each time}"""
    with tempfile.TemporaryDirectory() as folder:
        profile = os.path.join(folder, "callgrind.out")
        command = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={profile}"]
        subprocess.run([*command, program, "--count", str(TIMES)], check=True)
        with open(profile) as lines:
            return {name: total / TIMES for name, total in inclusive(lines).items()}


def inclusive(lines):
    """Instructions below every function of `hot::pieces`, of its own and of what it calls."""
    names, totals = {}, {}
    function, of_a_call = None, False
    for line in lines:
        if line.startswith("fn="):
            number, _, name = line[3:].strip().partition(" ")
            names.setdefault(number, name)
            found = re.fullmatch(r"hot::pieces::(\w+)", names[number])
            function = found and found.group(1)
        elif function and re.match(r"[-+*\d]", line):
            totals[function] = totals.get(function, 0) + int(line.split()[1])
        elif line.startswith("cfn="):
            number, _, name = line[4:].strip().partition(" ")
            if name:
                names[number] = name
    return totals


def compiler():
    return subprocess.run(["rustc", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[1]


def main():
    bless = "--bless" in sys.argv[1:]
    counts = counted(build())
    with open(BUDGET) as file:
        written = json.load(file)
    if bless:
        with open(BUDGET, "w") as file:
            json.dump({"compiler": compiler(), "instructions": {name: round(counts[name]) for name in written["instructions"]}}, file, indent=1)
            file.write("\n")
        return
    slack = SLACK if compiler() == written["compiler"] else SLACK_OTHER_COMPILER
    over = []
    for name, budget in written["instructions"].items():
        if name not in counts:
            raise SystemExit(f"budget: {name} was not counted; is it in benches/hot/pieces.rs?")
        change = counts[name] / budget - 1
        print(f"  {name:24} {counts[name]:8,.0f} instructions, {change:+7.1%} of {budget:,}", flush=True)
        if change > slack:
            over.append(name)
    if over:
        raise SystemExit(
            f"budget: over by more than {slack:.0%}: {', '.join(over)}. Where that is what it must cost:  scripts/budget --bless"
        )


if __name__ == "__main__":
    main()
