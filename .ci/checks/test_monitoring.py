"""What is shipped for Prometheus and Grafana: rules, their tests, dashboards; asked of a real Prometheus that scrapes real programs."""

import gzip
import json
import os
import re
import subprocess
import tempfile

import pytest
import yaml

from support import hosts, kubernetes, metrics, mounting, waiting
from support.paths import CI, PROJECT
from support.ports import free_port
from support.programs import api
from support.prometheus import Prometheus
from test_exporter import complaints

FOLDER = PROJECT / "deploy/prometheus"
RULES = {path.name.partition(".")[0]: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.rules.yaml"))}
TESTS = {path.name.partition(".")[0]: yaml.safe_load(path.read_text()) for path in sorted((FOLDER / "tests").glob("*.test.yaml"))}
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((PROJECT / "deploy/grafana").glob("*.json"))}
GUIDE = PROJECT / "docs/monitoring.md"
ALERTS = [rule for content in RULES.values() for group in content["groups"] for rule in group["rules"] if "alert" in rule]
RECORDED = {rule["record"]: rule["expr"] for content in RULES.values() for group in content["groups"] for rule in group["rules"] if "record" in rule}
# The kinds of panels that every Grafana has.
PANELS = {"row", "stat", "table", "timeseries"}
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})")
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + list(RECORDED.values())

# What finds nothing here, and why. All else must find a series.
NOTHING_HERE = {
    'pattoo_spoke_posts_served_total{code=~"5.."}': "no spoke here fails to write a post",
    'pattoo_spoke_left_out{reason=~"does not answer|not asked"}': "no mount hangs here",
    'pattoo_spoke_left_out{reason!~"permission|does not answer|not asked"}': "the spokes here see all",
    "pattoo_spoke_left_out": "the spokes here see all, where nobody else mounts anything",
    "pattoo_spoke_cgroup_memory_bytes": "in a control group of its own only as a service or in a container",
    "pattoo_spoke_cgroup_memory_limit_bytes": "the same",
    "pattoo_spoke_certificate_not_after_timestamp_seconds": "the programs here speak plain HTTP",
    "pattoo_spoke_certificate_not_before_timestamp_seconds": "the same",
    "pattoo_hub_certificate_not_after_timestamp_seconds": "the same",
    "pattoo_hub_certificate_not_before_timestamp_seconds": "the same",
    "posts_quarantined_total{HUB}[$__rate_interval])) > 0": "nothing is set aside here",
}


def is_nothing_here(query):
    return any(known in query for known in NOTHING_HERE)


# The files.


def test_promtool_finds_the_rules_right_and_their_tests_pass():
    assert RULES.keys() == TESTS.keys() == {"hub", "spoke", "host"}
    kubernetes.run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *FOLDER.glob("*.rules.yaml"))
    kubernetes.run("promtool", "check", "config", FOLDER / "prometheus.yml")
    for tests in (FOLDER / "tests").glob("*.test.yaml"):
        kubernetes.run("promtool", "test", "rules", tests)


def test_every_alert_fires_in_one_of_the_tests_and_in_another_place_does_not():
    for name, content in TESTS.items():
        alerts = {rule["alert"] for group in RULES[name]["groups"] for rule in group["rules"] if "alert" in rule}
        fired = {}
        for test in content["tests"]:
            for asked in test.get("promql_expr_test", []):
                # All that fire are asked for, so that what fires beside the fault is found.
                assert asked["expr"] == 'count by (alertname, instance) (ALERTS{alertstate="firing"})'
                for sample in asked.get("exp_samples", []):
                    for alert in re.findall(r'alertname="(\w+)"', sample["labels"]):
                        fired.setdefault(alert, set()).update(re.findall(r'instance="([\w-]+)"', sample["labels"]))
            instances = {instance for one in test["input_series"] for instance in re.findall(r'instance="([\w:-]+)"', one["series"])}
            assert len(instances) > 1 or "good" in instances or "alert_rule_test" in test, test
        assert fired.keys() == alerts
        assert not any("good" in instances for instances in fired.values()), "the one without a fault"


def test_the_tests_do_find_a_wrong_rule(tmp_path):
    """One that never fires, and one that fires for everybody."""
    (tmp_path / "tests").mkdir()
    for name, wrong in (("spoke", "vector(0) > 1"), ("spoke", "{expr} or up{{}}"), ("host", "{expr} or node_filefd_allocated{{}}")):
        content = yaml.safe_load((FOLDER / f"{name}.rules.yaml").read_text())
        rule = content["groups"][-1]["rules"][-3]
        rule["expr"] = wrong.format(expr=rule["expr"])
        (tmp_path / f"{name}.rules.yaml").write_text(yaml.safe_dump(content))
        (tmp_path / "tests" / "test.yaml").write_text((FOLDER / f"tests/{name}.test.yaml").read_text())
        assert kubernetes.run("promtool", "test", "rules", tmp_path / "tests/test.yaml", check=False).returncode != 0, wrong


def test_an_alert_says_what_is_wrong_and_what_to_do():
    guide = GUIDE.read_text()
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS) > 50
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical") and rule["annotations"].keys() == {"summary", "description"}, rule
        assert len(rule["annotations"]["description"]) > 40, rule["alert"]
        # It says where, but where nothing is left that could.
        assert "$labels.instance" in rule["annotations"]["summary"] + rule["annotations"]["description"] or rule["alert"] == "PattooHubAbsent"
        row = re.search(rf"^\| `{rule['alert']}` \| (\w+) \|", guide, flags=re.MULTILINE)
        assert row and row[1] == rule["labels"]["severity"], f"docs/monitoring.md lacks {rule['alert']}"
    assert set(re.findall(r"^\| `((?:Pattoo|Host)\w+)` ", guide, flags=re.MULTILINE)) == {rule["alert"] for rule in ALERTS}
    assert all(f"`{name}`" in guide for name in RECORDED)


def bare(expression):
    """Names of metrics that have no braces."""
    return re.findall(r"(?<![\w:])(?:(?:instance:)?(?:pattoo|node)_[\w:]+|up)(?![\w:{])", re.sub(r'"[^"]*"', '""', expression))


def test_every_selector_has_braces():
    """The chart puts the namespace there."""
    assert bare('up == 0 and node_load1{} and instance:pattoo_x:ratio > up{job="up"}') == ["up", "instance:pattoo_x:ratio"]
    for expression in EXPRESSIONS:
        assert SELECTOR.search(expression) and not bare(expression), expression


def test_the_dashboards_are_current_and_in_good_order(tmp_path):
    subprocess.run([CI / "dashboards", tmp_path], check=True, timeout=60)
    assert {path.stem for path in tmp_path.iterdir()} == DASHBOARDS.keys() == {"fleet", "host"}
    for name, board in DASHBOARDS.items():
        assert json.loads((tmp_path / f"{name}.json").read_text()) == board, f"{name}.json is not current: run .ci/dashboards"
        assert board["schemaVersion"] >= 39 and board["uid"] == f"pattoo-{name}" and board["id"] is None
        variables = {one["name"]: one for one in board["templating"]["list"]}
        assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
        panels = board["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels) > 25
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
            taken |= cells
            assert panel["type"] in PANELS, panel["title"]
            if panel["type"] != "row":
                assert panel["description"].endswith(".") and panel["fieldConfig"]["defaults"]["unit"] and panel["targets"], panel["title"]
                assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        # Every source of data is the variable, and every variable that is used is there.
        text = json.dumps(board)
        assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${datasource}", board["uid"]}
        used = set(re.findall(r"\$\{?(\w+)", " ".join(queries(board)))) - {"__rate_interval"}
        assert used | {"datasource"} == variables.keys()


def queries(board):
    return [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


# Real programs.


@pytest.fixture(scope="module")
def site(binaries, tmp_path_factory):
    """Three spokes, one of them of a made-up host with all that a host may have; a hub with a server; and a Prometheus with the
    shipped configuration, rules and all, in which only the addresses are others, and the times are short."""
    from support.programs import Rig

    path = tmp_path_factory.mktemp("site")
    with mounting.memory(path / "host") as folder, Rig(binaries, path) as rig:
        host = hosts.made("pressure", folder)
        for file in ("cpuinfo_cur_freq", "scaling_cur_freq"):
            host.write_sys(f"devices/system/cpu/cpu0/cpufreq/{file}", "1200000\n")
        host.write_sys("devices/platform/coretemp.0/hwmon/hwmon0/temp1_crit", "100000\n")
        spokes = [rig.spoke("machine"), rig.spoke("made-up", environment=host.environment()), rig.spoke("capped", metrics_max_series=5)]
        nobody = free_port()
        hub = rig.hub(devices=[*(spoke.port for spoke in spokes), nobody], api=api(rig.server().port))
        jobs = {"pattoo-spoke": [spoke.port for spoke in spokes], "pattoo-hub": [hub.port]}
        configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        configuration["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        configuration["rule_files"] = [str(path / name) for name in configuration["rule_files"]]
        for name in RULES:
            text = (FOLDER / f"{name}.rules.yaml").read_text()
            (path / f"{name}.rules.yaml").write_text(re.sub(r"^( +for): \w+$", r"\1: 1s", text, flags=re.MULTILINE))
        for job in configuration["scrape_configs"]:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in jobs.pop(job["job_name"])]}]
        assert jobs == {}
        with Prometheus(path / "prometheus", configuration) as prometheus:
            waiting.until(lambda: prometheus.numbers("up") == [1.0] * 4, 30, prometheus.log)
            # Rates want two readings, and what is worked out from them two rounds of the rules.
            waiting.until(lambda: len(prometheus.ask("instance:pattoo_poll_duration_seconds:p99_5m")) == 1, 30, prometheus.log)
            yield {"prometheus": prometheus, "hub": hub, "spokes": spokes, "nobody": nobody}


def test_every_rule_works_and_every_selector_finds_what_the_programs_show(site):
    prometheus = site["prometheus"]

    def worked():
        groups = prometheus.get("rules")["groups"]
        return groups and all(rule["health"] != "unknown" for group in groups for rule in group["rules"]) and groups

    groups = waiting.until(worked, 30, prometheus.log)
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(ALERTS) + len(RECORDED)
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] != "ok"] == []
    selectors = {name + matchers.replace("{}", "") for expression in EXPRESSIONS for name, matchers in SELECTOR.findall(expression)}
    assert len(selectors) > 60
    wanted = {one for one in selectors if one not in NOTHING_HERE}
    waiting.until(lambda: not missing(prometheus, wanted), 30, lambda: f"nothing found: {missing(prometheus, wanted)}")
    for name in RECORDED:
        assert prometheus.ask(name), name
    # A word of a closed list that a matcher names is one that the programs know.
    assert metrics.read(site["hub"].get("/metrics").body).sum("pattoo_hub_posts_dropped_total", reason="purged") == 0


def missing(prometheus, wanted):
    return sorted(one for one in wanted if not prometheus.ask(one))


def use_a_disk():
    """Writes to it and reads from it: how long a request took finds nothing where all is read from memory. Not below /tmp, which
    may be memory itself."""
    with tempfile.NamedTemporaryFile(dir="/var/tmp") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        os.pread(file.fileno(), 1 << 20, 0)


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_query_of_a_dashboard_finds_something(site, name):
    """In the fleet's for all hubs; in the host's for the machine or the made-up host, which has what a machine may lack."""
    prometheus = site["prometheus"]
    chosen = [{"hub": ".+"}] if name == "fleet" else [{"job": "pattoo-spoke", "instance": f"127.0.0.1:{spoke.port}"} for spoke in site["spokes"]]
    asked = queries(DASHBOARDS[name])

    def filled(query, values):
        for variable, value in {**values, "__rate_interval": "1m"}.items():
            query = query.replace(f"${variable}", value)
        assert "$" not in query, query
        return query

    def empty():
        return [query for query in asked if not any([prometheus.ask(filled(query, values)) for values in chosen])]

    def unexpected():
        use_a_disk()
        return [query for query in empty() if not is_nothing_here(query.replace('{instance=~"$hub"}', "{HUB}"))]

    waiting.until(lambda: not unexpected(), 30, lambda: f"nothing found: {unexpected()}")
    print(f"{len(asked)} queries, of these without a series here: {empty()}")
    for variable in DASHBOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            query, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"]).groups()
            assert all(label in found["metric"] for found in prometheus.ask(filled(query, chosen[0]))), variable["name"]


def test_what_is_named_without_a_series_here_is_what_the_programs_know():
    """What may be empty above is at least named by the programs, in their documents, which are checked against them."""
    known = (PROJECT / "docs/operation.md").read_text() + (PROJECT / "docs/metrics.md").read_text()
    for query in NOTHING_HERE:
        for name in re.findall(r"pattoo_\w+", query):
            assert f"`{name}" in known, name
    for reason in ("does not answer", "not asked", "permission"):
        assert f"| `{reason}` |" in known


def test_the_hubs_page_has_each_target_and_promtool_likes_it(site):
    hub, nobody = site["hub"], f"127.0.0.1:{site['nobody']}"
    body = hub.get("/metrics").body
    assert complaints(body) == set()
    page = metrics.read(body)
    # For who takes it, what is long is packed; the programs' own styles and scripts stay as a browser keeps them.
    for path in ("/metrics", "/", "/api/v1/fleet"):
        plain, packed = (hub.get(path, headers={"Accept-Encoding": accepted}) for accepted in ("identity", "gzip"))
        assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding" and "content-encoding" not in plain.headers
        if len(plain.body) >= 1024:
            assert packed.headers["content-encoding"] == "gzip" and len(packed.body) * 2 < len(plain.body), path
            assert abs(len(gzip.decompress(packed.body)) - len(plain.body)) < 100, "they differ by a number or two"
        assert packed.headers["content-type"] == plain.headers["content-type"]
    assert "content-encoding" not in hub.get("/livez", headers={"Accept-Encoding": "gzip"}).headers
    up = {dict(labels)["target"]: value for (name, labels), value in page.items() if name == "pattoo_hub_target_up"}
    assert up == {nobody: 0} | {f"127.0.0.1:{spoke.port}": 1 for spoke in site["spokes"]}
    failing = [dict(labels) for name, labels in page if name == "pattoo_hub_target_failing"]
    assert failing == [{"target": nobody, "reason": "refused"}]
    assert 0 <= page.sum("pattoo_hub_target_last_poll_age_seconds", target=nobody) < 10
    assert page.sum("pattoo_hub_polling_interval_seconds") == 1


def test_an_alert_fires_from_the_program_to_the_words(site):
    """Last: a spoke ends. Hub and Prometheus both miss it, and say where and why."""
    prometheus, spoke = site["prometheus"], site["spokes"][2]
    address = f"127.0.0.1:{spoke.port}"

    def firing(alert, **labels):
        found = [one for one in prometheus.get("alerts")["alerts"] if labels.items() <= one["labels"].items()]
        return [one for one in found if one["labels"]["alertname"] == alert and one["state"] == "firing"]

    assert not firing("PattooTargetDown", target=address) and not firing("PattooSpokeDown", instance=address)
    # One that was never there has had its alert all the time.
    waiting.until(lambda: firing("PattooTargetDown", target=f"127.0.0.1:{site['nobody']}"), 20, prometheus.log)
    assert spoke.stop() == 0
    (alert,) = waiting.until(lambda: firing("PattooTargetDown", target=address), 30, lambda: prometheus.get("alerts"))
    assert alert["labels"]["severity"] == "warning" and alert["labels"]["job"] == "pattoo-hub"
    assert alert["annotations"]["summary"] == f"The hub gets no post from {address}"
    # What it says follows the last poll: the spoke may have ended in the middle of one.
    words = f'Polls by 127.0.0.1:{site["hub"].port} fail, the last one with "refused".'
    waiting.until(
        lambda: [one for one in firing("PattooTargetDown", target=address) if words in one["annotations"]["description"]], 20, lambda: prometheus.get("alerts")
    )
    waiting.until(lambda: firing("PattooSpokeDown", instance=address), 30, lambda: prometheus.get("alerts"))
    # It is back, and nothing is said any more.
    spoke.start()
    if f"127.0.0.1:{spoke.port}" == address:
        waiting.until(lambda: not firing("PattooTargetDown", target=address), 30, lambda: prometheus.get("alerts"))
