"""The hub's half: the hub beside vmagent, Prometheus as an agent, the original's way, and the floor."""

import os
import re
import statistics
import time
from contextlib import ExitStack

import hub_pages
from hub_site import Site, windows
from table import Table, middle

INTERVAL_S = 10
TARGETS = 1000
# The original reads all targets for each: with more it needs longer than the interval, and a poll of it costs still more.
TARGETS_OF_ORIGINAL = 25
MANY = (1000, 2000, 5000, 10_000)

# Twice what was reached, roughly: in the images' build and in the unoptimised one that the checks measure.
SHORT_RATIO = {"image": 7, "dev": 20}
SHORT_CALLS = 40
SHORT_TARGETS = 40

HUB, VMAGENT, PROMETHEUS, ORIGINAL, FLOOR = "hub", "vmagent", "Prometheus, agent mode", "the original's way", "floor"


def beside_peers(report, tools, folder, rounds):
    """All of them in the same minutes."""
    def site(name, targets=TARGETS):
        return Site(tools, folder, re.sub(r"\W", "-", name), targets, INTERVAL_S)

    sites = {
        HUB: site(HUB).hub(),
        VMAGENT: site(VMAGENT).vmagent(),
        PROMETHEUS: site(PROMETHEUS).prometheus(),
        ORIGINAL: site(ORIGINAL, TARGETS_OF_ORIGINAL).original(),
        FLOOR: site(FLOOR).floor(),
    }
    with ExitStack() as running:
        for one in sites.values():
            running.enter_context(one)
        time.sleep(2.5 * INTERVAL_S)  # the first polls make what later ones find
        found = windows(sites, rounds, INTERVAL_S)
        memory = {name: (one.program.high_water_kb() / 1024, one.program.memory_kb()[1] / 1024) for name, one in sites.items()}
        books = {name: one.books() for name, one in sites.items()}
        calls = {name: sites[name].system_calls(INTERVAL_S) for name in (HUB, VMAGENT, PROMETHEUS, FLOOR)}
    rows = []
    for name in sites:
        core = int(INTERVAL_S * 1000 / statistics.median(found[name]))
        rows.append([name, middle(found[name]), core, calls.get(name), *memory[name], books[name]["spokes"]])
    columns = ["CPU s of 1000 polls", "spokes on one core at 10 s", "system calls a poll", "RSS MB, most", "PSS MB", "targets"]
    note = (
        f"Polls of 50 KB each {INTERVAL_S} s with everything on: check, spool with sync, delivery; the peers scrape 50 KB of text "
        f"and write it on. In brackets the least and the most of {rounds} rounds."
    )
    report.tables.append(Table("The hub: 1000 polls", columns, rows, note))
    for other, most in {VMAGENT: 1 / 3, PROMETHEUS: 1 / 8, ORIGINAL: 1 / 20}.items():
        report.ratio(f"hub's CPU to {other}", found[HUB], found[other], most)
    report.ratio("hub's CPU to the floor's (no bound)", found[HUB], found[FLOOR], float("inf"))
    report.at_most("hub's RSS with 1,000 hosts", memory[HUB][0], 64.0, "MB")
    report.at_most("posts that came late or twice", books[HUB]["late"], 0, "")


def watched(site, seconds):
    """What a hub on one core does for so long, once it runs."""
    time.sleep(1.5 * INTERVAL_S)
    before, cpu = site.books(), site.program.cpu_ns()
    time.sleep(seconds)
    after, cpu = site.books(), site.program.cpu_ns() - cpu
    polls = after["polls"] - before["polls"]
    full = after["seconds"][len(before["seconds"]) : -1]
    of_interval = full[: len(full) // INTERVAL_S * INTERVAL_S]
    return {
        "targets": site.targets,
        "cpu": cpu / polls / 1e6,
        "core": 100 * cpu / seconds / 1e9,
        "polls": polls,
        "wanted": site.targets * seconds / INTERVAL_S,
        "busiest": max(of_interval) / statistics.mean(of_interval),
        "missed": site.metric("pattoo_hub_polls_missed_total"),
        "failed": site.metric("pattoo_hub_polls_total") - site.metric('pattoo_hub_polls_total{result="ok"}'),
        "waiting": site.metric("pattoo_hub_posts_waiting"),
        "late": after["late"],
        "rss": site.program.high_water_kb() / 1024,
    }


def on_one_core(tools, folder, targets, seconds):
    site = Site(tools, folder, f"one-core-{targets}-{seconds}", targets, INTERVAL_S).hub()
    site.cores, site.fleet_cores = {0}, {1}
    with site:
        return watched(site, seconds)


def growing(report, tools, folder, long_s):
    """More and more spokes, on one core; the most of them for long."""
    found = [on_one_core(tools, folder, targets, 3 * INTERVAL_S) for targets in MANY[:-1]]
    found.append(on_one_core(tools, folder, MANY[-1], long_s))
    columns = ["CPU s of 1000 polls", "% of the core", "polls", "seconds' most to mean", "missed", "waiting at the end", "RSS MB, most"]
    rows = [
        [f"{one['targets']} spokes", *(one[key] for key in ("cpu", "core", "polls", "busiest", "missed", "waiting", "rss"))]
        for one in found
    ]
    note = f"The hub alone on one core, its fleet on another, each {INTERVAL_S} s; the last row for {long_s} s."
    report.tables.append(Table("The hub: more and more spokes", columns, rows, note))
    last = found[-1]
    report.at_most("polls missed or failed of 10,000 spokes on one core", last["missed"] + last["failed"], 0, "")
    report.at_most("polls of 10,000 spokes that are wanting", max(0, 1 - last["polls"] / last["wanted"]) * 100, 0.5, "%")
    report.at_most("hub's RSS with 10,000 hosts", last["rss"], 400.0, "MB")
    report.at_most("busiest second to the mean, 10,000 spokes", last["busiest"], 1.25, "x")
    report.at_most("CPU a poll, 10,000 spokes to 1,000", last["cpu"] / found[0]["cpu"], 1.25, "x")


def backlog(report, tools, folder, rounds):
    """CPU of a poll while nobody takes the posts, as the backlog gets longer."""
    with Site(tools, folder, "backlog", TARGETS, INTERVAL_S).hub(server=False) as site:
        time.sleep(1.5 * INTERVAL_S)
        found = windows({HUB: site}, 2 * rounds, INTERVAL_S)[HUB]
        waiting = site.metric("pattoo_hub_posts_waiting")
    early, late = statistics.median(found[:rounds]), statistics.median(found[rounds:])
    report.at_most(f"CPU a poll with a backlog, up to {waiting:.0f} posts, second half to first", late / early, 1.25, "x")


def run(report, tools, folder, effort):
    """Everything, into the report."""
    beside_peers(report, tools, folder, effort.hub_rounds)
    growing(report, tools, folder, effort.long_s)
    backlog(report, tools, folder, effort.hub_rounds)
    hub_pages.run(report, tools, folder, MANY[-1])
    report.at_most("hub's program", os.path.getsize(tools["hub"]) / 1e6, 14.0, "MB")


def short(report, tools, folder):
    """What tells within seconds whether something got clearly worse: the ratio to the floor, and system calls."""
    sites = {HUB: Site(tools, folder, "hub", SHORT_TARGETS, 1).hub(), FLOOR: Site(tools, folder, "floor", SHORT_TARGETS, 1).floor()}
    with sites[HUB], sites[FLOOR]:
        time.sleep(2.5)
        found = windows(sites, 5, 1)
        calls = sites[HUB].system_calls(3)
    report.ratio("hub's CPU of a poll to the floor's", found[HUB], found[FLOOR], SHORT_RATIO[tools["profile"]])
    report.at_most("hub's system calls a poll", calls, SHORT_CALLS, "")
    hub_pages.short(report, tools, folder, MANY[-1])
