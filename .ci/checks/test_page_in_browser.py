"""The spoke's page in a real browser, judged by axe. Pictures of it are left in `screenshots` beside what cargo builds."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from support import browser as browsers, hosts, mounting, waiting
from support.paths import target
from support.programs import Rig

EVIL = "<img src=x onerror=alert(1)><script>document.title='evil'</script>"
# The page asks each 5 s, a sample is taken each 10 s; the rest is for a machine under load.
UPDATED = 5 + 15
SAMPLED = 2 * 10 + 15


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as browser:
        yield browser


class Site:
    """A spoke over a made-up host that names what it can so that it would do harm as HTML."""

    def __init__(self, rig, folder):
        self.host = hosts.made("pressure", folder)
        self.host.mount(f"/dev/{EVIL}", f"/mnt/{EVIL}")
        self.host.mount("/dev/sdx", f"/gone/{EVIL}", folder=False)
        self.spoke = rig.spoke(environment=self.host.environment(), hostname=EVIL)


@pytest.fixture(scope="module")
def site(binaries, tmp_path_factory):
    path = tmp_path_factory.mktemp("page")
    with mounting.memory(path / "host") as folder, Rig(binaries, path) as rig:
        yield Site(rig, folder)


@pytest.fixture
def visitor(browser, site):
    """Afterwards nothing was said to be wrong, and nobody else was asked."""
    visitor = browsers.Visitor(browser, site.spoke.port)
    yield visitor
    visitor.close()
    assert not visitor.faults, visitor.faults


def live(page):
    page.get_by_text("Live: anew every 5 s.").wait_for(timeout=UPDATED * 1000)
    return page


@pytest.mark.parametrize("size", browsers.SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_whole(visitor, scheme, size):
    shots = target() / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    page = live(visitor.visit(scheme=scheme, size=size))
    assert page.locator("h1").all_inner_texts() == [EVIL]
    assert page.title() == f"{EVIL}: pattoo spoke"
    assert page.locator(".plot canvas").count() == 6
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "too wide"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (int(ground.removeprefix("rgb(").split(",")[0]) < 128) == (scheme == "dark"), ground
    page.screenshot(path=shots / f"spoke-{scheme}-{size}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visitor, scheme):
    found = Axe().run(live(visitor.visit(scheme=scheme))).response["violations"]
    serious = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert not serious


def test_charts_are_drawn_anew_in_the_other_scheme(visitor):
    page = live(visitor.visit())
    plot = page.locator(".chart", has=page.get_by_role("heading", name="Load", exact=True)).locator(".plot")
    waiting.until(lambda: plot.evaluate(browsers.DRAWN) > 0, SAMPLED, "a line is drawn")
    page.emulate_media(color_scheme="dark")
    waiting.until(lambda: plot.evaluate(browsers.DRAWN) > 0, 5, "it is drawn in the colour of the other scheme")
    box = plot.locator(".u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 1, box["y"] + box["height"] / 2)
    assert plot.locator(".u-legend .u-value").last.inner_text() == "0.42"


def test_a_change_is_seen_without_reloading_and_a_spoke_that_is_gone(rig, browser, tmp_path):
    with mounting.memory(tmp_path / "host") as folder:
        host = hosts.made("no_psi", folder)
        spoke = rig.spoke(environment=host.environment())
        visitor = browsers.Visitor(browser, spoke.port)
        page = live(visitor.visit())
        page.evaluate("window.same = true")
        facts = page.locator("#facts")
        assert "0.42, 0.36, 1.10" in facts.inner_text()
        host.write("loadavg", "7.00 8.00 9.00 2/231 4711\n")
        host.mount("/dev/sdb1", "/new")
        page.get_by_text("7.00, 8.00, 9.00").wait_for(timeout=UPDATED * 1000)
        page.locator("#partitions").get_by_text("/new", exact=True).wait_for(timeout=UPDATED * 1000)
        assert visitor.faults == []
        spoke.kill()
        page.get_by_text("No answer since").wait_for(timeout=UPDATED * 1000)
        assert "7.00, 8.00, 9.00" in facts.inner_text(), "what was known stays"
        # On the same port, as after an update.
        section = {"ip_listen_address": "127.0.0.1", "ip_bind_port": spoke.port, "hostname": "spoke.example.com"}
        spoke.folder.write("pattoo_agent_os_spoked", pattoo_agent_os_spoked=section)
        spoke.start()
        live(page)
        assert page.get_by_text("No answer since").is_hidden()
        assert page.evaluate("window.same") is True
        visitor.close()


def test_it_asks_for_nothing_while_nobody_looks(visitor):
    page = live(visitor.visit())

    def look(hidden):
        page.evaluate(f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }})")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    def asked():
        return page.evaluate("performance.getEntriesByType('resource').length")

    look("true")
    # What was under way comes to its end.
    page.wait_for_load_state("networkidle")
    before = asked()
    waiting.holds(lambda: asked() == before, 7, "it asks all the same")
    look("false")
    waiting.until(lambda: asked() > before, 3, "it asks at once")


def test_it_is_readable_without_scripts(visitor):
    page = visitor.visit(java_script_enabled=False)
    assert page.locator("svg.spark").count() == 13
    assert "0.42, 0.36, 1.10" in page.locator("#facts").inner_text()
    assert page.locator("#silent").is_hidden()
