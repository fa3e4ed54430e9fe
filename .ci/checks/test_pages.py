"""The hub's pages in a real browser: Debian's Chromium, driven by Playwright, judged by axe.

Pictures of each page are left in `screenshots` beside what cargo builds."""

import json
import time

import pytest
from axe_playwright_python.sync_playwright import Axe

from support import browser as browsers, requests, waiting
from support.paths import ORIGINAL, target
from support.programs import Rig

EVIL = "<script>document.title='evil'</script>"
# The page asks each 10 s; the rest is for a machine under load.
REFRESHED = 10 + 15


class Site:
    """A hub with two spokes, a target that nobody answers for, and an agent that posts what was within the last hour."""

    def __init__(self, rig):
        self.spokes = [rig.spoke("web", hostname="web-1.example.com"), rig.spoke("evil", hostname=EVIL)]
        ports = [spoke.port for spoke in self.spokes]
        # Port 9 discards, where anybody listens there at all.
        self.hub = rig.hub(devices=[*ports, 9], receive=True)
        captured = ORIGINAL.read_text()
        self.agent = json.loads(captured)["pattoo_agent_id"]
        now = int(time.time())
        for seconds in range(3600, 0, -30):
            # Stamps of the captured post begin with this; one counter grows.
            body = captured.replace("1795349433", str(now - seconds)).replace('"localhost"', '"db-1"')
            body = body.replace("8464633856", str(8464633856 + (3600 - seconds) * 1_000_000))
            answer = self.send("POST", "/pattoo/api/v1/agent/receive/captured", body.encode())
            assert answer.status == 200, answer.body
        # One that is set aside.
        self.send("POST", "/pattoo/api/v1/agent/receive/captured", captured.replace(self.agent, "../x", 1).encode())
        waiting.until(lambda: self.states() == {"up": 3, "failing": 1, "late": 0, "unknown": 0}, 20, self.hub.log)
        waiting.until(lambda: self.json(f"/api/v1/hosts/{self.agent}/history")["series"], 20, self.hub.log)

    def send(self, method, path, body):
        return requests.send(method, self.hub.port, path, body, headers={"Content-Type": "application/json"})

    def json(self, path):
        return json.loads(self.hub.get(path).body)

    def states(self):
        return self.json("/api/v1/fleet")["states"]

    @property
    def pages(self):
        return {
            "fleet": "/",
            "host": f"/host/{self.agent}",
            "delivery": "/delivery",
            "configuration": "/configuration",
        }


@pytest.fixture(scope="module")
def site(binaries, tmp_path_factory):
    with Rig(binaries, tmp_path_factory.mktemp("pages")) as rig:
        yield Site(rig)


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser, site):
    """Opens a page as one who looks at it does; afterwards nothing was said to be wrong, and nobody else was asked."""
    visitors = []

    def visit(path, hub=site.hub, **options):
        visitors.append(browsers.Visitor(browser, hub.port))
        page = visitors[-1].visit(path, **options)
        if page.locator("#charts").count():
            page.wait_for_selector("#charts[data-drawn]", timeout=20_000)
        return page

    yield visit
    for visitor in visitors:
        visitor.close()
        assert not visitor.faults, visitor.faults


@pytest.mark.parametrize("size", browsers.SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_page_is_whole(site, visit, scheme, size):
    shots = target() / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    for name, path in site.pages.items():
        page = visit(path, scheme=scheme, size=size)
        assert page.locator("h1").count() == 1, name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} is too wide"
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (int(ground.removeprefix("rgb(").split(",")[0]) < 128) == (scheme == "dark"), ground
        page.screenshot(path=shots / f"hub-{name}-{scheme}-{size}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(site, visit, scheme):
    for name, path in site.pages.items():
        found = Axe().run(visit(path, scheme=scheme)).response["violations"]
        serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, (name, serious)


def test_charts_are_drawn_for_each_range(site, visit):
    page = visit(site.pages["host"])
    plots = page.locator(".plot")
    for label in ("CPU", "Memory", "Disk I/O", "Partitions"):
        plot = page.locator(".chart", has=page.get_by_role("heading", name=label, exact=True)).locator(".plot")
        assert plot.evaluate(browsers.DRAWN) > 50, label
    # Under the pointer, all charts tell the same time and their own number.
    box = plots.first.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    told = [plots.nth(at).locator(".u-legend .u-value").first.inner_text() for at in range(3)]
    assert told[0] not in ("", "\N{EN DASH}") and len(set(told)) == 1, told
    for name in ("6h", "24h", "7d"):
        page.get_by_role("button", name=name).click()
        page.wait_for_selector(f"#charts[data-drawn='{name}']")
        assert page.get_by_role("button", name=name).get_attribute("aria-pressed") == "true"
    assert page.url.endswith("range=7d")
    assert visit(site.pages["delivery"]).locator(".plot canvas").count() == 4


def test_search_filter_and_sort_are_used(site, visit):
    page = visit("/")
    rows = page.locator("tbody tr")
    assert rows.count() == 4
    page.evaluate("window.same = true")
    page.get_by_label("Search").fill("WEB-")
    rows.nth(1).wait_for(state="detached")
    assert rows.count() == 1 and "web-1.example.com" in rows.first.inner_text() and page.url.endswith("?q=WEB-")
    # Return asks at once, and for no new page.
    page.keyboard.press("Enter")
    assert rows.count() == 1
    page.get_by_label("Search").fill("")
    rows.nth(3).wait_for()
    page.get_by_role("link", name="failing 1").click()
    rows.nth(1).wait_for(state="detached")
    assert "failing: refused" in rows.first.inner_text()
    page.get_by_role("link", name="all 4").click()
    rows.nth(3).wait_for()
    for order in ("ascending", "descending"):
        page.get_by_role("link", name="Host", exact=True).click()
        page.wait_for_selector(f"th[aria-sort={order}]")
        names = rows.locator("th").all_inner_texts()
        assert names == sorted(names, key=str.lower, reverse=order == "descending"), names
    # By keyboard alone, and without a new page.
    page.get_by_role("link", name="CPU", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/?sort=cpu&order=desc")
    assert page.evaluate("window.same") is True


def test_who_has_no_script_searches_too(visit):
    page = visit("/?sort=host&order=desc", java_script_enabled=False)
    page.get_by_label("Search").fill("WEB-")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=WEB-&sort=host&order=desc")
    rows = page.locator("tbody tr")
    assert rows.count() == 1 and "web-1.example.com" in rows.first.inner_text()
    page.get_by_role("link", name="failing", exact=False).click()
    page.wait_for_url("**/?state=failing&q=WEB-&sort=host&order=desc")
    assert page.locator("tbody tr .state").count() == 0


def test_a_host_that_is_named_script_is_harmless(site, visit):
    page = visit("/")
    page.get_by_role("link", name=EVIL).click()
    page.wait_for_url("**/host/*")
    assert page.locator("h1").inner_text() == EVIL
    assert page.title().startswith(EVIL), page.title()


def test_a_change_is_seen_without_reloading(rig, visit):
    spoke = rig.spoke("spoke")
    hub = rig.hub(devices=[spoke.port])
    states = lambda: json.loads(hub.get("/api/v1/fleet").body)["states"]  # noqa: E731
    waiting.until(lambda: states()["up"] == 1, 20, hub.log)
    page = visit("/", hub=hub)
    page.evaluate("window.same = true")
    assert page.locator(".state.up").count() == 1
    spoke.kill()
    page.locator(".state.failing").wait_for(timeout=REFRESHED * 1000)
    assert page.evaluate("window.same") is True
