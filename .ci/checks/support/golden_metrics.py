"""Golden pages: what `/metrics` says of each made-up host. One is kept whole; of the others the difference to it."""

import difflib
import re

from support.paths import CI

FOLDER = CI / "checks" / "golden-metrics"
WHOLE = "no_psi"
# Other from run to run: the clock, the disk below the made-up host, the program itself, how long all of it took.
CHANGES = re.compile(r"node_time_(seconds|zone)|node_timex_|node_filesystem_(avail|free|size|files)|node_scrape_collector_duration|pattoo_")
# So many series of a family are shown; a host with 500 interfaces has 500 in each.
SHOWN = 8


def text_of(body):
    """The page as text to be compared and read."""
    lines, family = [], []

    def end():
        lines.extend(family[:SHOWN])
        if len(family) > SHOWN:
            lines.append(f"... and {len(family) - SHOWN} more")
        family.clear()

    for line in body.decode().splitlines():
        if line.startswith("# HELP "):
            end()
        name = line.split(" ")[2] if line.startswith("#") else line
        if not CHANGES.match(name):
            (lines if line.startswith("#") else family).append(line)
    end()
    return [line + "\n" for line in lines]


def path(name):
    return FOLDER / (f"{name}.txt" if name == WHOLE else f"{name}.diff")


def kept_as(name, lines):
    """What stands in the file of a host whose page has these lines."""
    if name == WHOLE:
        return "".join(lines)
    whole = path(WHOLE).read_text().splitlines(keepends=True)
    return "".join(difflib.unified_diff(whole, lines, WHOLE, name, n=0))


def write(name, lines):
    FOLDER.mkdir(exist_ok=True)
    path(name).write_text(kept_as(name, lines))
