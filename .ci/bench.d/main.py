"""The bench: what the programs cost, beside their peers and beside the floor. Called by .ci/bench, which says how."""

import argparse
import shlex
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import host
import hub
import spoke
from table import Report

# One module a half, each with run(report, tools, folder, effort) and short(report, tools, folder).
HALVES = {"spoke": spoke, "hub": hub}


@dataclass
class Effort:
    """How much is done; `--quick` is for trying the bench out, not for figures."""

    rounds: int = 7
    cold_answers: int = 20
    hot_answers: int = 100
    starts: int = 7
    memory_answers: int = 10_000
    idle_s: int = 20
    hub_rounds: int = 9
    long_s: int = 600


QUICK = Effort(rounds=3, cold_answers=6, hot_answers=100, starts=3, memory_answers=1000, idle_s=5, hub_rounds=3, long_s=30)


def arguments():
    parser = argparse.ArgumentParser(prog=".ci/bench")
    parser.add_argument("--short", action="store_true", help="ratios to the floor and system calls alone, in seconds; status 1 where one is exceeded")
    parser.add_argument("--quick", action="store_true", help="everything, with few rounds")
    parser.add_argument("--only", choices=HALVES, action="append", help="one half")
    parser.add_argument("--out", type=Path, help="folder for bench.md and bench.json")
    parser.add_argument("--tool", action="append", default=[], metavar="NAME=PATH", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    asked = arguments()
    tools = dict(tool.split("=", 1) for tool in asked.tool)
    said = [word for word in sys.argv[1:] if not word.startswith("--tool=")]
    report = Report(host.described() | versions(tools), shlex.join([".ci/bench", *said]))
    for name in asked.only or HALVES:
        with tempfile.TemporaryDirectory(prefix="pattoo-bench.", dir="/var/tmp") as folder:
            if asked.short:
                HALVES[name].short(report, tools, folder)
            else:
                HALVES[name].run(report, tools, folder, QUICK if asked.quick else Effort())
        # After each half: what the first found is not lost with the second.
        if asked.out:
            asked.out.mkdir(parents=True, exist_ok=True)
            (asked.out / "bench.md").write_text(report.markdown())
            (asked.out / "bench.json").write_text(report.json())
    print(report.json() if asked.short else report.markdown())
    return int(asked.short and not all(bound.met for bound in report.bounds))


def versions(tools):
    """Of the peers, as their packages are called."""
    return {"peers": tools["versions"]} if "versions" in tools else {}


if __name__ == "__main__":
    sys.exit(main())
