"""What stands around the chart: monitoring, notes, package, plain manifests and the guide."""

import json
import re
import subprocess
import tarfile
import tomllib

import yaml

from support import kubernetes
from support.kubernetes import CHART, FEATURES, NAMESPACE, feature, features
from support.paths import CI, PROJECT

MANIFESTS = PROJECT / "deploy/kubernetes"
GUIDE = PROJECT / "docs/kubernetes.md"


def test_prometheus_operator_is_told_what_it_knows():
    """No schema of these can be had: fields by the operator's documentation of monitoring.coreos.com/v1."""
    rendering = feature("monitoring")
    known = {"port", "path", "interval", "scrapeTimeout", "relabelings"}
    assert {one["kind"] for one in rendering.objects if one["apiVersion"] == kubernetes.OPERATOR} == {"PodMonitor", "ServiceMonitor", "PrometheusRule"}
    for kind, component, way in (("PodMonitor", "spoke", "podMetricsEndpoints"), ("ServiceMonitor", "hub", "endpoints")):
        one = rendering.one(kind, component)
        assert one["metadata"]["labels"]["release"] == "prometheus"
        assert set(one["spec"]) == {"selector", way}
        (end,) = one["spec"][way]
        assert set(end) <= known and end["interval"] in ("30s", "1m") and end.get("scrapeTimeout", "10s") == "10s"
    relabel = rendering.one("PodMonitor", "spoke")["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert relabel == [{"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}]
    rules = rendering.one("PrometheusRule", "alerts")
    assert set(rules["spec"]) == {"groups"} and rules["metadata"]["labels"]["release"] == "prometheus"
    for name, other in features().items():
        assert name == "monitoring" or not [one for one in other.objects if one["apiVersion"] == kubernetes.OPERATOR], name


def test_the_rules_are_the_shipped_ones_each_release_has_its_own(tmp_path):
    """What they ask for and when they fire is judged where they are shipped for Prometheus; here, that the chart has them all."""
    shipped = {path.name.partition(".")[0]: yaml.safe_load(path.read_text())["groups"] for path in (PROJECT / "deploy/prometheus").glob("*.rules.yaml")}
    with_rules = ["--values", kubernetes.values("monitoring")]
    for arguments, names in (
        ([], "host hub spoke"),
        (["--values", kubernetes.values("hub-only")], "hub"),
        (["--values", kubernetes.values("spoke-only")], "host spoke"),
        (["--set", "prometheusRule.hosts=false"], "hub spoke"),
    ):
        groups = kubernetes.render(*with_rules, *arguments).one("PrometheusRule", "alerts")["spec"]["groups"]
        wanted = [group for name in names.split() for group in shipped[name]]
        assert [group["name"] for group in groups] == [group["name"] for group in wanted]
        for group, original in zip(groups, wanted):
            for rule, one in zip(group["rules"], original["rules"], strict=True):
                assert rule | {"expr": ""} == one | {"expr": ""}
                selectors = re.findall(r"[\w:]+\{([^{}]*)\}", rule["expr"])
                assert selectors and all(selector.startswith(f'namespace="{NAMESPACE}"') for selector in selectors), rule
                assert re.sub(rf'namespace="{NAMESPACE}"(, )?', "", rule["expr"]) == one["expr"]
    (tmp_path / "rules.yaml").write_text(json.dumps(feature("monitoring").one("PrometheusRule", "alerts")["spec"]))
    kubernetes.run("promtool", "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yaml")
    kubernetes.run("promtool", "test", "rules", two_namespaces(tmp_path))


def two_namespaces(folder):
    """A case for promtool: the same faults here and elsewhere, of which this release tells its own."""
    names = {NAMESPACE: "ours", "elsewhere": "theirs"}
    series = {}
    for namespace, instance in names.items():
        labels = f'namespace="{namespace}", job="{namespace}/pattoo-spoke", instance="{instance}"'
        series |= {
            f"pattoo_hub_upstream_up{{{labels}}}": "0x60",
            f"up{{{labels}}}": "0x60",
            f"node_filefd_allocated{{{labels}}}": "9x60",
            f"node_filefd_maximum{{{labels}}}": "10x60",
        }
    # Elsewhere there is a hub, here none.
    series['pattoo_hub_build_info{namespace="elsewhere", instance="theirs"}'] = "1x60"
    fired = [("PattooUpstreamDown", "ours"), ("PattooSpokeDown", "ours"), ("HostFilesAlmostGone", "ours"), ("PattooHubAbsent", "")]
    expected = [
        {"labels": "{" + ", ".join([f'alertname="{alert}"', *([f'instance="{instance}"'] if instance else [])]) + "}", "value": 1} for alert, instance in fired
    ]
    asked = {"expr": 'count by (alertname, instance) (ALERTS{alertstate="firing"})', "eval_time": "40m", "exp_samples": expected}
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": [asked]}
    (folder / "test.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    return folder / "test.yaml"


def test_notes_say_what_to_do_next():
    label = f"kubectl label namespace {NAMESPACE} pod-security.kubernetes.io/enforce=privileged"
    # What is said, by the word that tells it, and of which features.
    said = {
        label: set(FEATURES) - {"hub-only", "receive"},
        "helm test pattoo": set(FEATURES) - {"spoke-only"},
        "WARNING: the hub knows no pattoo server": set(FEATURES) - {"upstream", "monitoring", "ipv6", "spoke-only"},
        'WARNING: hub.discovery is "name"': {"discovery"},
        "WARNING: hub.persistence is off": {"emptydir"},
        "The hub delivers to pattoo.example.com, port 20202.": {"upstream"},
    }
    for text, wanted in said.items():
        assert {name for name in FEATURES if text in feature(name).notes} == wanted, text
    # What is named is there.
    for rendering in features().values():
        for kind, name in re.findall(r"(daemonset|service)/([\w-]+)", rendering.notes):
            assert name in [one["metadata"]["name"] for one in rendering.objects if one["kind"].lower() == kind]


def test_a_hub_without_anything_to_do_is_refused():
    done = kubernetes.install("--set", "hub.discovery=none", check=False)
    assert done.returncode != 0 and "the hub has nothing to do" in done.stderr


def test_a_changed_configuration_replaces_its_pods_alone():
    def sums(*arguments):
        pods = kubernetes.render("--set", "restartOnConfigChange=true", *arguments).pods()
        return {component: pods[component]["metadata"]["annotations"]["checksum/config"] for component in ("spoke", "hub")}

    before = sums()
    changed = sums("--set", "spoke.config.disk_exclude=sr0", "--set", "hub.resources.limits.memory=1Gi")
    assert changed["spoke"] != before["spoke"] and changed["hub"] == before["hub"]
    assert "checksum/config" not in str(feature("defaults").pods()) and "checksum/config" in str(feature("names").pods())


def test_the_package_is_of_the_programs_version(tmp_path):
    version = tomllib.loads((PROJECT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == version
    kubernetes.run("helm", "package", CHART, "--destination", tmp_path)
    with tarfile.open(tmp_path / f"pattoo-{version}.tgz") as package:
        names = {name.removeprefix("pattoo/") for name in package.getnames()}
    assert {"Chart.yaml", "values.yaml", "values.schema.json", "templates/NOTES.txt", "templates/hub/deployment.yaml", "files/hub.rules.yaml"} <= names
    assert not [name for name in names if name.startswith("ci/")]
    rendered = kubernetes.run("helm", "template", "pattoo", tmp_path / f"pattoo-{version}.tgz").stdout
    images = {pod["spec"]["containers"][0]["image"] for pod in kubernetes.Rendering(rendered, "").pods().values()}
    assert images == {f"pattoo/spoke:{version}", f"pattoo/hub:{version}"}


def test_the_plain_manifests_are_current_and_whole(tmp_path):
    subprocess.run(["bash", CI / "manifests", tmp_path], check=True, timeout=60)
    for name in ("spoke.yaml", "hub.yaml"):
        assert (tmp_path / name).read_text() == (MANIFESTS / name).read_text(), f"{name} is not current: run .ci/manifests"
    rules = sorted(path.name for path in (PROJECT / "deploy/prometheus").glob("*.rules.yaml"))
    assert rules == sorted(path.name for path in (CHART / "files").iterdir()) == sorted(path.name for path in tmp_path.glob("*.rules.yaml"))
    for name in rules:
        assert (tmp_path / name).read_text() == (CHART / "files" / name).read_text(), f"helm/files/{name} is not current: run .ci/manifests"
    built = kubernetes.load(kubernetes.run("kubectl", "kustomize", MANIFESTS).stdout)
    assert kubernetes.faults(built, "1.28") == kubernetes.faults(built, kubernetes.kubernetes_validate.latest_version()) == []
    assert not [word for word in ("helm", "Helm", "checksum/") if word in json.dumps(built)]
    (namespace,) = [one for one in built if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert {one["metadata"]["namespace"] for one in built if one is not namespace} == {namespace["metadata"]["name"]}

    def said(objects):
        """What the pods, policies and services are, without Helm's own."""
        return {(one["kind"], one["metadata"]["name"]): one["spec"] for one in objects if one["kind"] in ("NetworkPolicy", "Service")}

    assert said(built) == said(feature("defaults").objects)


def test_the_guide_names_values_that_there_are(tmp_path):
    text = GUIDE.read_text()
    assert len(text.splitlines()) < 150
    named = set(re.findall(r"\b((?:spoke|hub|config|networkPolicy|prometheusRule)(?:\.[A-Za-z_]+)+)", text))
    assert len(named) > 20
    schema = json.loads((CHART / "values.schema.json").read_text())

    def known(place):
        at = schema
        for step in place.split("."):
            at = schema["definitions"][at["$ref"].rpartition("/")[2]] if "$ref" in at else at
            at = at.get("properties", {}).get(step)
            if at is None:
                return False
        return True

    assert [place for place in sorted(named) if not known(place)] == []
    # And what it tells to type can be typed, with the file that it tells to write.
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert set(re.findall(r"pattoo/(?:spoke|hub):(\S+)", text)) == {version}
    (written,) = re.findall(r"^cat >(values.yaml) <<EOF\n(.*?)^EOF$", text, flags=re.MULTILINE | re.DOTALL)
    (tmp_path / written[0]).write_text(written[1])
    for action in ("install", "upgrade"):
        (line,) = re.findall(rf"^helm {action} pattoo ./helm (.*)$", text, flags=re.MULTILINE)
        arguments = line.replace(written[0], str(tmp_path / written[0])).split()
        # An upgrade wants a cluster; it takes the same arguments.
        shown = kubernetes.run("helm", "install", "pattoo", CHART, "--dry-run=client", *arguments).stdout
        assert "The hub delivers to pattoo.example.com" in shown and f"registry.example.com/pattoo/hub:{version}" in shown, action
