"""The spoke's page, and the JSON beside it: the post's numbers, nothing of the host's taken for HTML, what is not seen named."""

import html
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from support import hosts, mounting, passing, waiting
from support.judge import judge

EVIL = "<script>alert('&\"')</script>"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
MOST_SHOWN = 100
# No longer than a person waits, on a loaded machine and without optimisation.
LOOK_S = 5
LOOKS = 60
EVERY_S = 5


@pytest.fixture
def folder(tmp_path):
    with mounting.memory(tmp_path / "host", "64m") as made:
        yield made


class Page(HTMLParser):
    """The elements of a page, and the text of each that has an id; the rows of each table."""

    VOID = {"meta", "link", "rect", "path"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts, self.rows = [], [], {}, {}
        self.feed(text)
        assert self.open == [], "an element is not closed"

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes))
        if tag not in self.VOID:
            self.open.append((tag, attributes.get("id")))
        if tag == "tr":
            self.rows.setdefault(self._id(), []).append([])
        if tag in ("td", "th") and self._id() in self.rows:
            self.rows[self._id()][-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1][0] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        for _, name in self.open:
            if name:
                self.texts[name] = self.texts.get(name, "") + data
        if any(tag in ("td", "th") for tag, _ in self.open) and self.rows.get(self._id()):
            self.rows[self._id()][-1][-1] += data

    def _id(self):
        return next((name for _, name in reversed(self.open) if name), None)

    def named(self, tag):
        return [attributes for found, attributes in self.elements if found == tag]


def page(spoke):
    answer = spoke.get("/")
    assert answer.status == 200, answer.body
    return Page(answer.body.decode())


def api(spoke, path):
    answer = spoke.get(f"/api/v1/{path}")
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return json.loads(answer.body)


def values(spoke):
    return judge(spoke.get("/pattoo-agent-os/5").body).values()


def in_bytes(number):
    units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    at = 0
    while number >= 1023.95 and at < len(units) - 1:
        number, at = number / 1024, at + 1
    return f"{number:.{1 if at else 0}f} {units[at]}"


@pytest.mark.parametrize("name", ["no_psi", "pressure", "odd_names", "one_over_another", "disks", "cpus_256", "no_available"])
def test_shows_the_numbers_of_the_post(rig, folder, name):
    host = hosts.made(name, folder)
    spoke = rig.spoke(environment=host.environment())
    before, found, shown, after = values(spoke), api(spoke, "host"), page(spoke), values(spoke)
    # How full the file system below the made-up host is may change: the other programs of this machine write to it.
    wanted = {series: value for series, value in before.items() if after[series] == value}

    def of_host(key):
        return wanted[key, ()]

    assert found["processes"] == of_host("process_count")
    assert found["load"] == [of_host(f"load_average_{minutes}min") for minutes in ("01", "05", "15")]
    assert found["cpu_percent"] == {mode: of_host(f"cpu_times_percent_{mode}") for mode in found["cpu_percent"]}
    assert len(found["cpu_percent"]) == 10
    for ours, theirs in (("memory", "memory"), ("swap", "swap_memory")):
        for part in ("total", "used"):
            assert found[ours][f"{part}_bytes"] == of_host(f"{theirs}_{part}")
        assert found[ours]["used_percent"] == of_host(f"{theirs}_percent")
    assert found["cpus"] == host.cpus
    assert found["uptime_s"] == 12345
    assert found["kernel"] == "6.1.0-18-amd64"

    partitions = {instance for key, instance in before if key == "disk_partition_disk_usage_total"}
    listed = found["partitions"]["shown"]
    assert found["partitions"]["count"] == len(listed) == len(partitions)
    for one in listed:
        (instance,) = [it for it in partitions if it[:3] == (one["device"].strip(), one["mountpoint"].strip(), one["fstype"].strip())][:1]
        for part in ("total", "used", "free"):
            value = wanted.get((f"disk_partition_disk_usage_{part}", instance))
            assert value in (None, one[f"{part}_bytes"]), (instance, part)
    disks = {instance: one for one in found["disks"]["shown"] for instance in [(one["name"],)]}
    assert {instance for key, instance in wanted if key == "disk_io_read_bytes"} == disks.keys()
    for instance, one in disks.items():
        assert one["read_bytes"] == wanted["disk_io_read_bytes", instance]
        assert one["written_bytes"] == wanted["disk_io_write_bytes", instance]
    for one in found["interfaces"]["shown"]:
        instance = (one["name"],)
        assert one["received_bytes"] == wanted["network_io_bytes_recv", instance]
        assert one["sent_bytes"] == wanted["network_io_bytes_sent", instance]
        assert one["faults"] == sum(wanted[f"network_io_{what}", instance] for what in ("errin", "errout", "dropin", "dropout"))

    facts = shown.texts["facts"]
    memory = found["memory"]
    assert f"{memory['used_percent']:.1f} % ({in_bytes(memory['used_bytes'])} of {in_bytes(memory['total_bytes'])})" in facts
    assert ", ".join(f"{load:.2f}" for load in found["load"]) in facts
    assert "3 h 25 min" in facts
    assert [row[0] for row in shown.rows["partitions"]] == [one["mountpoint"] for one in listed]
    for row, one in zip(shown.rows["partitions"], listed):
        assert row[3] == in_bytes(one["total_bytes"])
        assert re.fullmatch(r"\d+\.\d %", row[5]), row
    assert [row[0] for row in shown.rows["disks"]] == [one["name"] for one in found["disks"]["shown"]]
    assert [row[4:] for row in shown.rows["interfaces"]] == [
        [in_bytes(one["received_bytes"]), in_bytes(one["sent_bytes"])] for one in found["interfaces"]["shown"]
    ]
    if name == "pressure":
        assert found["pressure"][0] == {
            "on": "cpu", "who": "some", "last_10s_percent": 1.53, "last_60s_percent": 0.87, "last_300s_percent": 0.73,
        }  # fmt: skip
        assert len(shown.rows["pressure"]) == 1 + len(found["pressure"]) == 6
    else:
        assert found["pressure"] == []
        assert "does not tell" in shown.texts["pressure"]


def test_takes_nothing_of_the_host_for_html(rig, folder):
    """Every name that the host, or whoever mounts something there, may choose; and the page asks no other host for anything."""
    host = hosts.made("no_psi", folder)
    host.mount(f"/dev/{EVIL}", f"/mnt/{EVIL}", options=f"rw,{EVIL}")
    host.mount("/dev/sdx", f"/gone/{EVIL}", folder=False)
    host.interfaces([EVIL.replace(" ", ""), "eth0"])
    host.disks([(EVIL.replace(" ", ""), 17)])
    host.write("sys/kernel/osrelease", f"{EVIL}\n")
    host.write_root("etc/os-release", "PRETTY_NAME='<script>alert(1)</script>'\n")
    spoke = rig.spoke(environment=host.environment(), hostname=EVIL)
    answer = spoke.get("/")
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.headers["x-content-type-options"], answer.headers["referrer-policy"]) == ("nosniff", "no-referrer")
    shown = Page(answer.body.decode())
    assert {attributes["src"].partition("/assets/")[1] for attributes in shown.named("script")} == {"/assets/"}
    assert len(shown.named("script")) == 2
    allowed = {"class", "id", "href", "src", "rel", "lang", "charset", "name", "content", "defer", "tabindex", "role", "scope", "colspan",
               "hidden", "viewbox", "preserveaspectratio", "width", "height", "d", "vector-effect"}  # fmt: skip
    for tag, attributes in shown.elements:
        assert {name for name in attributes if not name.startswith(("data-", "aria-"))} <= allowed, (tag, attributes)
        for where in ("href", "src"):
            assert attributes.get(where, "/")[:1] in "/#" or attributes[where] == "data:,", (tag, attributes)
    for text in ("partitions", "interfaces", "disks", "left-out"):
        assert EVIL in shown.texts[text], text
    assert "<script>alert" in shown.texts["facts"]
    assert f"<h1>{html.escape(EVIL).replace('&#x27;', '&#39;')}</h1>" in answer.body.decode()


def test_what_the_page_is_made_of_is_served_here(rig):
    spoke = rig.spoke()
    shown = page(spoke)
    files = [one["src"] for one in shown.named("script")] + [one["href"] for one in shown.named("link") if one["rel"] == "stylesheet"]
    assert len(files) == 4
    for path in files:
        answer = spoke.get(path)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/javascript" if path.endswith(".js") else "text/css")
        assert "immutable" in answer.headers["cache-control"]
        assert not re.search(rb"(?:url\(|@import|src=|https?:)(?!.*uPlot)", answer.body), path
        assert spoke.get(path, headers={"If-None-Match": answer.headers["etag"]}).status == 304
    for link in [one["href"] for one in shown.named("a")]:
        if link.startswith("/"):
            assert spoke.get(link).status == 200, link
    ids = [attributes["id"] for _, attributes in shown.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all("id" in attributes for _, attributes in shown.elements if "data-part" in attributes)


def test_the_post_is_json_for_a_browser_too(rig):
    answer = rig.spoke().get("/pattoo-agent-os/300", headers={"Accept": "text/html,application/xhtml+xml"})
    assert answer.headers["content-type"] == "application/json"
    assert judge(answer.body).interval == 300_000


@pytest.mark.parametrize("name", ["hidepid", "init_unreadable", "one_over_another"])
def test_names_what_it_cannot_see(rig, folder, name):
    host = hosts.made(name, folder)
    spoke = rig.spoke(environment=host.environment())
    found, shown = api(spoke, "host"), page(spoke)
    assert [one["what"] for one in found["left_out"]["shown"]] == host.left_out
    for one in found["left_out"]["shown"]:
        assert one["reason"]
        assert f"{one['what']}: {one['reason']}" in shown.texts["left-out"]
    assert "cannot be seen" in shown.texts["blind"]
    # What is missing from /metrics is known once somebody asked for these.
    spoke.get("/metrics")
    missing = page(spoke).texts.get("missing", "")
    assert ("missing from /metrics" in missing) == bool(api(spoke, "host")["missing_from_metrics"]["count"])
    # Looking is no reading for a post: neither the log nor the metrics of posts tell of it.
    assert [line for line in list(spoke.lines) if "left out of the post" in line] == []
    assert spoke.metrics()["pattoo_spoke_collections_total", ()] == 0


def test_thousands_of_partitions_and_interfaces_stay_readable(rig, folder):
    host = hosts.made("no_psi", folder)
    host.interfaces([f"veth{at:x}" for at in range(1500)])
    folders = [f"/pods/{at}" for at in range(3000)]
    for point in folders:
        (host.root / point[1:]).mkdir(parents=True)
    host.write_mounts(b"".join(f"/dev/sd{at} {point} ext4 rw 0 0\n".encode() for at, point in enumerate(folders)))
    spoke = rig.spoke(environment=host.environment())
    before = time.monotonic()
    answer = spoke.get("/")
    took = time.monotonic() - before
    shown, found = Page(answer.body.decode()), api(spoke, "host")
    print(f"{len(answer.body)} bytes in {took:.2f} s")
    assert took < LOOK_S
    assert len(answer.body) < 100_000
    for what, count in (("partitions", 3000), ("interfaces", 1500)):
        assert (found[what]["count"], len(found[what]["shown"])) == (count, MOST_SHOWN)
        assert len(shown.rows[what]) == MOST_SHOWN
        assert f"of {count}." in shown.texts[f"{what}-note"]
    assert shown.texts.get("disks-note", "") == ""


def test_the_last_hour_is_sampled_and_only_what_is_new_need_be_asked(rig, folder):
    """Rates against the sample before, no byte counted twice; the sample of the start is the first."""
    host = hosts.made("no_psi", folder)
    quiet = " ".join(["0"] * 11)
    host.write("diskstats", f"8 0 sda {quiet}\n8 1 sda1 {quiet}\n")
    host.write_network(hosts.NETWORK_HEAD + f"lo: {' '.join(['0'] * 16)}\neth0: {' '.join(['0'] * 16)}\n")
    spoke = rig.spoke(environment=host.environment())
    first = waiting.until(lambda: api(spoke, "hour")["times_ms"], 5, spoke.log)
    moved = "0 0 2048 0 0 0 4096 0 0 0 0"
    host.write("diskstats", f"8 0 sda {moved}\n8 1 sda1 {moved}\n")
    carried = "1048576 0 0 0 0 0 0 0 2097152 0 0 0 0 0 0 0"
    host.write_network(hosts.NETWORK_HEAD + f"lo: {carried}\neth0: {carried}\n")
    hour = waiting.until(lambda: (it := api(spoke, f"hour?since={first[-1]}"))["times_ms"] and it, 30, spoke.log)
    assert hour["times_ms"][0] > first[-1]
    assert hour["until_ms"] == hour["times_ms"][-1]
    seconds = (hour["times_ms"][0] - first[-1]) / 1000
    series = {name: points[0] for name, points in hour["series"].items()}
    assert series["disk_read_bytes"] == pytest.approx(2048 * 512 / seconds, rel=0.05)
    assert series["disk_written_bytes"] == pytest.approx(4096 * 512 / seconds, rel=0.05)
    assert series["network_received_bytes"] == pytest.approx(1048576 / seconds, rel=0.05)
    assert series["network_sent_bytes"] == pytest.approx(2097152 / seconds, rel=0.05)
    assert (series["load_1m"], series["memory_used_percent"], series["swap_used_percent"]) == (0.42, 28.9, 25.0)
    assert api(spoke, f"hour?since={hour['until_ms']}")["times_ms"] == []
    # Without anybody having looked at a partition, one row later it is known how full the fullest is.
    full = waiting.until(lambda: api(spoke, "hour")["series"]["fullest_partition_percent"][-1], 30, spoke.log)
    assert 0 < full <= 100
    assert "read " in page(spoke).texts["chart-disks"]
    for odd in ("-1", "x", "", "1e3"):
        assert spoke.get(f"/api/v1/hour?since={odd}").status == 400, odd


@pytest.mark.parametrize("path", ["/", "/api/v1/host", "/api/v1/hour"])
def test_is_only_read(rig, path):
    from support import requests

    spoke = rig.spoke()
    for method in ("POST", "PUT", "DELETE"):
        assert requests.send(method, spoke.port, path, body=b"").status == 405
    assert requests.send("OPTIONS", spoke.port, path).status == 200
    assert spoke.get("/api/v1/other").status == spoke.get("/api/v2/host").status == 404


def test_a_page_that_stays_open_costs_little(rig):
    """What a browser asks for every five seconds, asked for back to back; prints what that is of a core, and the memory."""
    spoke = rig.spoke()
    status = Path(f"/proc/{spoke.process.pid}/status")

    def resident():
        return int(re.search(r"VmRSS:\s*(\d+) kB", status.read_text())[1]) / 1024

    def cpu():
        return sum(int(said.split()[0]) for said in passing.of_threads(spoke.process.pid, "schedstat")) / 1e9

    spoke.get("/pattoo-agent-os/300")
    before = resident()

    def look():
        assert spoke.get("/").status == 200
        assert spoke.get(f"/api/v1/hour?since={api(spoke, 'hour')['until_ms']}").status == 200

    look()
    early, spent = resident(), cpu()
    for _ in range(LOOKS):
        look()
    spent, late = (cpu() - spent) / LOOKS, resident()
    print(f"{spent * 1000:.2f} ms an update, {spent / EVERY_S:.3%} of a core; RSS {before:.2f}, {early:.2f}, {late:.2f} MB")
    # The checks' own build is not optimised.
    assert spent / EVERY_S < 0.005
    assert late - early < 1
