"""`/metrics` of the spoke, judged by Debian's node_exporter, promtool and Prometheus."""

import gzip
import re
import ssl
import subprocess
import threading

import pytest

from support import exporter, golden_metrics, hosts, kubernetes, mounting, pki, requests, waiting
from support.compose import docker
from support.exporter import COLLECTORS, NodeExporter, asked, faults
from support.paths import PROJECT, SPOKE
from support.prometheus import Prometheus
from test_containers import ENGINE_HOST, images  # noqa: F401 (a fixture)

DOCUMENT = (PROJECT / "docs/metrics.md").read_text()
OPEN_METRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}
IDENTITY = {"agent_id": "0123456789abcdef" * 4, "hostname": "made-up.example.com"}


@pytest.fixture(scope="module")
def machine(binaries, tmp_path_factory):
    """A spoke and a node_exporter that tell of this machine."""
    from support.programs import Rig

    with Rig(binaries, tmp_path_factory.mktemp("machine")) as rig, NodeExporter() as judge:
        yield rig.spoke(), judge


# This machine.


@pytest.mark.parametrize("collector", COLLECTORS)
def test_says_what_node_exporter_says_of_this_machine(machine, collector):
    """Its names and labels are among ours; gauges that do not move are equal; counters lie between two of its readings."""
    spoke, judge = machine
    tries = []

    def agree():
        before, ours, after = asked(judge.port, collector), asked(spoke.port, collector), asked(judge.port, collector)
        assert ours.success(collector) == before.success(collector), collector
        tries.append(faults(before, ours, after))
        # A gauge may have moved and come back between the two readings; what is wrong stays wrong.
        return not tries[-1] and len(before.of_the_host())

    if asked(judge.port, collector).success(collector) == 1 and asked(judge.port, collector).of_the_host():
        compared = waiting.until(agree, 10, lambda: "\n".join(tries[-1]))
        print(f"{compared} series, {len(tries)} tries")
    else:
        assert asked(spoke.port, collector).of_the_host() == {}, f"this machine has no {collector}"


def test_all_that_every_host_has_was_compared(machine):
    """The check above is not empty: what this machine lacks is told by the made-up hosts."""
    _, judge = machine
    silent = {name for name in COLLECTORS if not asked(judge.port, name).of_the_host()}
    assert silent <= {"conntrack", "cpufreq", "hwmon", "pressure", "thermal_zone", "entropy"}, silent


# By the spoke's key; the fifth, for interfaces, leaves nothing out.
EXCLUDES = {
    "metrics_partition_exclude": "filesystem.mount-points-exclude",
    "metrics_fstype_exclude": "filesystem.fs-types-exclude",
    "metrics_disk_exclude": "diskstats.device-exclude",
    "metrics_network_exclude": "netdev.device-exclude",
}


def test_the_whole_page_is_node_exporters_in_the_same_minute(machine):
    """With the spoke's own excludes, which Debian has widened in its node_exporter: no series is missing, and none is beyond. No
    exception is needed; what the numbers are, is compared collector by collector above, in shorter moments."""
    spoke, _ = machine
    said = subprocess.run([spoke.binary, "--check"], env=spoke.environment, capture_output=True, text=True, timeout=20).stdout
    patterns = {key: re.search(rf"^{key}: (.*)$", said, flags=re.MULTILINE)[1] for key in EXCLUDES}
    options = [f"--collector.{option}={'' if patterns[key] == 'none' else patterns[key]}" for key, option in EXCLUDES.items()]
    with NodeExporter(None, *options) as judge:
        seen = {}

        def same():
            before, ours, after = asked(judge.port, *COLLECTORS), asked(spoke.port), asked(judge.port, *COLLECTORS)
            low, high = before.of_the_host().keys(), after.of_the_host().keys()
            seen.update(missing=(low & high) - ours.of_the_host().keys(), beyond=ours.of_the_host().keys() - low - high, compared=len(low))
            return not seen["missing"] and not seen["beyond"]

        # As a page is read, a disk, an interface or a mount may come or go.
        waiting.until(same, 20, lambda: seen)
    assert seen["compared"] > 250
    print(f"{seen['compared']} series")


def complaints(body):
    """What promtool finds: {(name, what)}."""
    done = subprocess.run([kubernetes.TOOLS / "promtool", "check", "metrics"], input=body, capture_output=True, timeout=60)
    assert done.returncode in (0, 3), done.stderr.decode()[-3000:]
    return {tuple(line.split(" ", 1)) for line in done.stderr.decode().splitlines()}


def test_promtool_finds_nothing_but_what_node_exporters_own_names_are(machine):
    """Names such as node_memory_MemTotal_bytes are not to its liking; they are what dashboards ask for."""
    spoke, judge = machine
    spoke.get("/pattoo-agent-os/300")
    theirs = complaints(requests.send("GET", judge.port, "/metrics").body)
    ours = complaints(spoke.get("/metrics").body)
    assert ours - theirs == set()
    assert complaints(b"# TYPE a_count counter\na_count 1\n"), "promtool finds what is wrong"


# Made-up hosts.


@pytest.fixture
def folder(tmp_path):
    with mounting.memory(tmp_path / "host") as made:
        yield made


each_host = pytest.mark.parametrize("name", hosts.MADE)

# What node_exporter cannot tell of a made-up host: it refuses bytes that are no UTF-8, and looks at its own process where
# the first one hides.
UNTOLD = {
    "odd_names": {"filesystem", "netdev"},
    "hidepid": {"conntrack", "filesystem", "netdev", "netstat", "sockstat"},
    "init_unreadable": {"filesystem", "netdev"},
}
# The clock and the kernel itself are the machine's.
OF_THE_MACHINE = {"uname"}


@each_host
def test_says_what_node_exporter_says_of_a_made_up_host(rig, folder, name):
    host = hosts.made(name, folder)
    if name == "hidepid":
        # node_exporter reads what it calls net of the process that asks.
        assert not (host.proc / "1").exists()
    spoke = rig.spoke(environment=host.environment(), **IDENTITY)
    with NodeExporter(host) as judge:
        compared = set()
        for collector in sorted(set(COLLECTORS) - UNTOLD.get(name, set()) - OF_THE_MACHINE):
            before, ours, after = asked(judge.port, collector), asked(spoke.port, collector), asked(judge.port, collector)
            assert faults(before, ours, after) == [], collector
            if before.of_the_host():
                assert ours.success(collector) == 1, collector
                compared.add(collector)
    assert {"cpu", "conntrack", "hwmon", "netclass", "thermal_zone"} - UNTOLD.get(name, set()) <= compared


@each_host
def test_answers_as_the_golden_page(rig, folder, name, request):
    spoke = rig.spoke(environment=hosts.made(name, folder).environment(), **IDENTITY)
    lines = golden_metrics.text_of(spoke.get("/metrics").body)
    if request.config.option.write_golden:
        golden_metrics.write(name, lines)
    assert golden_metrics.kept_as(name, lines).splitlines() == golden_metrics.path(name).read_text().splitlines()


def test_every_golden_page_has_its_host():
    assert sorted(path.stem for path in golden_metrics.FOLDER.iterdir()) == sorted(hosts.MADE)


def test_every_family_is_documented_and_each_that_is_documented_is_shown(rig, folder):
    """Over all made-up hosts and this one; `<...>` in the document stands for what the kernel names."""
    # With a certificate, of which two families tell.
    authority = pki.Authority(folder, "authority")
    certificate, key = authority.issue("spoke")
    tls = {"tls_certificate_file": str(certificate), "tls_key_file": str(key)}
    documented = set(re.findall(r"`((?:node|pattoo_spoke)_[A-Za-z0-9_<>]+)`", DOCUMENT))
    shown = set()
    for name in ("pressure", "cpus_256"):
        made = folder / name
        made.mkdir()
        host = hosts.made(name, made)
        for at in range(2):
            for file in ("cpuinfo_cur_freq", "cpuinfo_min_freq", "cpuinfo_max_freq", "scaling_min_freq", "scaling_max_freq", "scaling_cur_freq"):
                host.write_sys(f"devices/system/cpu/cpu{at}/cpufreq/{file}", "1200000\n")
        # Enough for the cap, and a device of the mapper.
        host.write_root("run/udev/data/b8:1", "E:DM_NAME=vg-root\nE:DM_UUID=LVM-1\nE:DM_VG_NAME=vg\nE:DM_LV_NAME=root\n")
        spoke = rig.spoke(name, environment=host.environment(), metrics_disk_exclude="", metrics_max_series=30, **tls, **IDENTITY)
        spoke.context = ssl.create_default_context(cafile=authority.file)
        spoke.get("/pattoo-agent-os/300")
        for _ in range(2):
            page = exporter.read(spoke.get("/metrics").body)
            shown |= page.types.keys()
        with NodeExporter(host, "--collector.diskstats.device-exclude=^$") as judge:
            for collector in ("cpufreq", "diskstats"):
                before = asked(judge.port, collector)
                assert name == "cpus_256" or faults(before, page, before) == [], collector

    def matches(pattern, name):
        return re.fullmatch(re.sub(r"<\w+>", "[A-Za-z0-9_]+", pattern), name)

    assert [name for name in sorted(shown) if not any(matches(pattern, name) for pattern in documented)] == []
    assert [pattern for pattern in sorted(documented) if not any(matches(pattern, name) for name in shown)] == []


# What is asked, and what is switched off.


def test_the_forms_say_the_same(rig, folder):
    spoke = rig.spoke(environment=hosts.made("pressure", folder).environment(), **IDENTITY)
    plain = spoke.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    other = spoke.get("/metrics", headers=OPEN_METRICS)
    assert other.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    body, end = other.body[:-6], other.body[-6:]
    assert end == b"# EOF\n"
    assert exporter.read(body).series.keys() == exporter.read(plain.body).series.keys()
    types = exporter.read(body).types
    assert types["node_forks"] == "counter" and types["node_vmstat_pswpin"] == "unknown" and types["node_load1"] == "gauge"
    assert not [name for name in types if name.endswith("_total")]
    for headers in ({}, OPEN_METRICS):
        packed = spoke.get("/metrics", headers=headers | {"Accept-Encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip" and len(packed.body) * 4 < len(plain.body)
        assert exporter.read(gzip.decompress(packed.body).removesuffix(b"# EOF\n")).series.keys() == exporter.read(plain.body).series.keys()
    head = requests.send("HEAD", spoke.port, "/metrics")
    assert (head.status, head.body) == (200, b"")
    assert requests.send("POST", spoke.port, "/metrics", body=b"").status == 405
    wrong = spoke.get("/metrics?collect[]=cpus")
    assert wrong.status == 400 and b"did you mean cpu?" in wrong.body


def test_every_collector_can_be_switched_off(rig, folder):
    environment = hosts.made("pressure", folder).environment()
    everything = exporter.read(rig.spoke("all", environment=environment, **IDENTITY).get("/metrics").body)
    assert {name for name in COLLECTORS if everything.success(name) is not None} == set(COLLECTORS)
    for off in ("netclass, hwmon", ",".join(COLLECTORS[1:]), "all"):
        spoke = rig.spoke("off", environment=environment, metrics_off=off, **IDENTITY)
        page = exporter.read(spoke.get("/metrics").body)
        left = {name for name in COLLECTORS if page.success(name) is not None}
        assert left == (set() if off == "all" else set(COLLECTORS) - set(off.replace(" ", "").split(",")))
        assert (page.of_the_host() == {}) == (off == "all")
        assert "pattoo_spoke_build_info" in page.types
        spoke.stop()


def test_excludes_and_the_cap_bound_the_series(rig, folder):
    host = hosts.made("interfaces_500", folder)
    spoke = rig.spoke(environment=host.environment(), metrics_network_exclude="^veth", **IDENTITY)
    devices = {dict(labels)["device"] for name, labels in exporter.read(spoke.get("/metrics").body).series if name == "node_network_receive_bytes_total"}
    assert devices == {"lo", "eth0", "eth0.100", "br-0a1b2c3d4e5f", "wg0", "eth0:1"}
    capped = rig.spoke("capped", environment=host.environment(), metrics_max_series=100, **IDENTITY)
    for times in (1, 2):
        page = exporter.read(capped.get("/metrics").body)
        assert sum(name == "node_network_receive_bytes_total" for name, _ in page.series) == 100
        assert page.series.sum("pattoo_spoke_metrics_series_cut_total", family="node_network_receive_bytes_total") == times * 400


def test_what_is_missing_is_named_once_and_nothing_else(rig, folder):
    spoke = rig.spoke(environment=hosts.made("hidepid", folder).environment(), **IDENTITY)
    for _ in range(3):
        page = exporter.read(spoke.get("/metrics").body)
    missing = {"conntrack", "filesystem", "netdev", "netstat", "sockstat"}
    assert {name for name in COLLECTORS if page.success(name) == 0} == missing | {"pressure"}
    said = [line for line in spoke.lines if "left out of /metrics" in line]
    assert len(said) == len(missing), said
    shown = spoke.get("/").body.decode().partition("What is missing from /metrics")[2].partition("</ul>")[0]
    for name in missing:
        assert [line for line in said if f"collector {name}" in line] and f"<li>collector {name}: " in shown


def test_askers_at_once_share_a_reading(rig):
    spoke = rig.spoke()
    gate, bodies = threading.Barrier(20), []

    def ask():
        gate.wait()
        bodies.append(spoke.get("/metrics").body)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(bodies) == 20
    times = {re.search(rb"^node_time_seconds (\S+)$", body, re.MULTILINE)[1] for body in bodies}
    assert len(times) < 20, "each was read for itself"


# In a container.


def test_a_container_tells_the_machines_numbers(rig, images):  # noqa: F811 (the fixture)
    """Mounted and restricted as the DaemonSet does it: the same series as of a spoke beside it, nothing of its own."""
    places = {f"HOST_{name.upper()}": f"{ENGINE_HOST}/{name}" for name in ("proc", "root") if ENGINE_HOST}
    bare = rig.spoke(environment=places, **IDENTITY)
    container = docker(
        "run", "--detach", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--publish", "127.0.0.1::5000",
        *(f"--volume={place}:/host{name}:ro" for place, name in (("/proc", "/proc"), ("/sys", "/sys"), ("/", "/root"))),
        *(f"--env=HOST_{name}=/host/{name.lower()}" for name in ("PROC", "SYS", "ROOT")),
        *(f"--env={SPOKE.upper()}__{key.upper()}={value}" for key, value in IDENTITY.items()),
        images["spoke"],
    ).stdout.strip()  # fmt: skip
    # As a page is read, another container may come or go; who may not enter a folder sees no mount in it.
    ours = re.compile(r"node_(network|netstat|sockstat|nf_conntrack|disk|cpu|memory|vmstat|filefd|pressure|load|intr|forks)")
    try:
        port = int(docker("port", container, "5000").stdout.rpartition(":")[2])
        waiting.until(lambda: requests.answers(port), 20, lambda: docker("logs", container).stdout)
        seen = {}

        def same():
            pages = {"bare": asked(bare.port).of_the_host(), "container": asked(port).of_the_host()}
            seen.update({where: {key for key in page if ours.match(key[0])} for where, page in pages.items()})
            return seen["bare"] == seen["container"]

        waiting.until(same, 30, lambda: seen["bare"] ^ seen["container"])
        before, inside, after = asked(bare.port), asked(port), asked(bare.port)
        for name in ("node_netstat_Tcp_PassiveOpens", "node_netstat_IpExt_InOctets", "node_forks_total"):
            low, found, high = (page.series[name, ()] for page in (before, inside, after))
            assert low <= found <= high, name
        uname = next(dict(labels) for name, labels in inside.series if name == "node_uname_info")
        assert uname["nodename"] == IDENTITY["hostname"]
        points = [{labels for name, labels in page.series if name == "node_filesystem_device_error"} for page in (before, inside)]
        assert points[1] <= points[0] and any(("mountpoint", "/") in labels for labels in points[1])
    finally:
        docker("rm", "--force", container)


# Prometheus itself.


def test_prometheus_takes_every_series(rig, tmp_path, folder):
    """Debian's Prometheus, which asks for OpenMetrics, packed."""
    spoke = rig.spoke(environment=hosts.made("pressure", folder).environment(), **IDENTITY)
    target = {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{spoke.port}"]}]}
    configuration = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [target]}
    with Prometheus(tmp_path / "prometheus", configuration) as prometheus:
        waiting.until(lambda: prometheus.numbers("up") == [1.0], 20, lambda: prometheus.get("targets"))
        series = len(exporter.read(spoke.get("/metrics").body).series)
        assert prometheus.numbers("scrape_samples_scraped") == [series]
        assert prometheus.numbers("scrape_samples_post_metric_relabeling") == [series]
        assert prometheus.numbers("node_forks_total") == [4711.0]
        assert prometheus.numbers("count(node_cpu_seconds_total)") == [16.0]
