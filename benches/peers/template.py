"""Config files with names between @ and @, and parts that are only for one variant."""

import os
import re

TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
BEGIN, END, NAME = re.compile(r"#if (\w+)$"), re.compile(r"#end$"), re.compile(r"@([a-z0-9_]+)@")


def fill(template, names, variant="plain"):
    """The template with its @names@ filled in, and of `#if VARIANT` to `#end` only what is for this variant."""
    lines, keep = [], True
    with open(os.path.join(TEMPLATES, template)) as file:
        for line in file.read().splitlines():
            if match := BEGIN.match(line):
                keep = match.group(1) == variant
            elif END.match(line):
                keep = True
            elif keep:
                lines.append(line)
    return NAME.sub(lambda match: str(names[match.group(1)]), "\n".join(lines)) + "\n"
