"""What the hub's pages cost where there are many targets."""

from hub_site import Site
from table import Table

ASKED = 10
FIRST = "the first page, 200 rows"
PAGES = {
    FIRST: "/",
    "sorted by CPU": "/?sort=cpu&order=desc",
    "searched, and sorted by name": "/?q=127&sort=host",
    "`/api/v1/fleet`": "/api/v1/fleet",
    "`/api/v1/fleet?format=csv`, all rows": "/api/v1/fleet?format=csv",
    "`/delivery`": "/delivery",
}
# Nobody polls while pages are asked for, so that all CPU is theirs.
NEVER_S = 86_400


def _asked(site, path):
    """CPU milliseconds of an answer, the mean of some over one connection, and its kilobytes."""
    site.program.path = path
    site.program.ask()  # what only the first does is not what one costs
    before = site.program.cpu_ns()
    sizes = site.program.ask_often(ASKED)
    return (site.program.cpu_ns() - before) / ASKED / 1e6, sizes[0] / 1e3


def run(report, tools, folder, targets):
    """All pages, with the numbers of every host, which history keeps where it is asked to."""
    with Site(tools, folder, "pages", targets, 10, history=True).hub() as site:
        site.until(lambda: site.metric("pattoo_hub_history_hosts") > targets, "every target was polled")
        site.change(polling_interval=NEVER_S)
        site.until(lambda: site.metric("pattoo_hub_posts_waiting") == 0, "all was delivered")
        before = site.program.high_water_kb() / 1024
        found = {name: _asked(site, path) for name, path in PAGES.items()}
        memory = site.program.high_water_kb() / 1024
    note = (
        f"{targets} targets, all up, with history; CPU of the whole hub for one answer, the mean of {ASKED}. RSS was {before:.0f} MB at "
        f"most before, and {memory:.0f} MB with them."
    )
    rows = [[name, *numbers] for name, numbers in found.items()]
    report.tables.append(Table("The hub: its pages", ["CPU ms", "KB"], rows, note))
    _judge(report, targets, found[FIRST], memory)


def short(report, tools, folder, targets):
    """The first page, before anything was polled."""
    with Site(tools, folder, "pages", targets, NEVER_S, history=True).hub() as site:
        found = _asked(site, PAGES[FIRST])
        _judge(report, targets, found, site.program.high_water_kb() / 1024)


def _judge(report, targets, found, memory):
    report.at_most(f"CPU of the hub's first page with {targets} targets", found[0], 300.0, "ms")
    report.at_most(f"hub's RSS with pages of {targets} targets", memory, 400.0, "MB")
