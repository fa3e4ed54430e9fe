"""The chart, as the real helm renders it for each of helm/ci/*-values.yaml: what a cluster would be told."""

import difflib
import json
import re
import subprocess

import pytest
import yaml

from support import kubernetes
from support.kubernetes import CHART, FEATURES, GOLDEN, HUB, NAMESPACE, PROGRAMS, SPOKE, End, Rendering, feature, features
from support.paths import PROJECT

DEFAULTS = "defaults"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
CONTROLLERS = {"spoke": "DaemonSet", "hub": "Deployment"}
# The oldest that the chart's kubeVersion names, and the newest that there are schemas of.
VERSIONS = {"oldest": "1.28", "newest": kubernetes.kubernetes_validate.latest_version()}
# Keys that the chart tells the program itself, from the cluster or from its own volumes: they are no values.
OF_THE_CHART = {
    "pattoo": {"log_max_bytes", "log_directory", "cache_directory", "daemon_directory", "system_daemon_directory", "language"},
    "pattoo_agent_api": set(),
    # The same agent_id or number of cpus on every node would be wrong on all but one.
    SPOKE: {"ip_listen_address", "hostname", "agent_id", "cpus", "host_proc", "host_sys", "host_root"},
    HUB: {"ip_listen_address"},
}


def rendered(component=None):
    """Each feature's rendering; with a component, of those that have it."""
    return {name: one for name, one in features().items() if component is None or one.find("ConfigMap", component)}


def test_lint_finds_nothing():
    """With the defaults, and with all that can be switched on at once."""
    together = [f"--values={kubernetes.values(name)}" for name in ("extra", "monitoring", "scheduling", "secrets", "hidepid", "image")]
    for arguments in ([], together):
        kubernetes.run("helm", "lint", "--strict", CHART, *arguments)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_one_that_kubernetes_knows(version):
    number = VERSIONS[version]
    assert (version == "oldest") == (f">={number}.0-0" == yaml.safe_load((CHART / "Chart.yaml").read_text())["kubeVersion"])
    objects = [one for rendering in features().values() for one in rendering.objects]
    assert kubernetes.faults(objects, number) == []
    # The judge does refuse what is no field.
    pod = json.loads(json.dumps(feature(DEFAULTS).one("DaemonSet", "spoke")))
    pod["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    assert len(kubernetes.faults([pod], number)) == 1


def golden_text(name):
    """The defaults whole, of another feature what it changes; the notes behind the objects."""
    whole = {one: f"{feature(one).text}---\n# NOTES\n{feature(one).notes}\n".splitlines() for one in (DEFAULTS, name)}
    if name == DEFAULTS:
        lines = whole[name]
    else:
        lines = list(difflib.unified_diff(whole[DEFAULTS], whole[name], n=2, lineterm=""))[2:]
        # Which line it is, changes with every line before.
        lines = ["@@" if line.startswith("@@") else line for line in lines]
        assert lines, f"{name} changes nothing"
    # The hash of a text that stands beside it.
    return [re.sub(r"(checksum/config: )\w{64}", r"\1...", line) for line in lines]


def test_renderings_are_the_golden_ones(request):
    different = {}
    for name in FEATURES:
        path = GOLDEN / f"{name}.{'yaml' if name == DEFAULTS else 'diff'}"
        if request.config.option.write_golden:
            path.parent.mkdir(exist_ok=True)
            path.write_text("\n".join(golden_text(name)) + "\n")
        before = path.read_text().splitlines() if path.exists() else []
        changes = [line for line in difflib.unified_diff(before, golden_text(name), n=0, lineterm="")]
        if changes:
            different[name] = changes[2:]
    assert different == {}
    assert sorted(path.stem for path in GOLDEN.iterdir()) == FEATURES


# What is given beside the defaults, and where the schema finds fault: with the key that it does not know, or with the value.
MISSPELT = """
spok={} /
hub.imag={} /hub
spoke.image.tagg="1" /spoke/image
spoke.resources.limit={} /spoke/resources
spoke.probes.live={} /spoke/probes
hub.probes.liveness.periodSecond=1 /hub/probes/liveness
spoke.host.dev={} /spoke/host
spoke.host.root.enable=false /spoke/host/root
spoke.securityContext={"runAsUser":0} /spoke
spoke.hostNetwork=true /spoke
spoke.hostPID=true /spoke
spoke.updateStrategy.maxUnavailable=1 /spoke/updateStrategy
spoke.podMonitor.intervall="1m" /spoke/podMonitor
spoke.config.ip_bind_prot=5000 /spoke/config
spoke.config.hostname="one" /spoke/config
spoke.seLinuxOptions.typ="spc_t" /spoke/seLinuxOptions
hub.replicas=2 /hub
hub.persistence.storageClass="fast" /hub/persistence
hub.podDisruptionBudget.minAvailable=1 /hub/podDisruptionBudget
hub.serviceMonitor.enable=true /hub/serviceMonitor
hub.service.typ="NodePort" /hub/service
hub.config.polling_intervall=30 /hub/config
hub.config.ip_devices=[{"ip_address":"a","ip_bind_port":1,"resolv":"all"}] /hub/config/ip_devices/0
networkPolicy.prometeus=[] /networkPolicy
prometheusRule.label={} /prometheusRule
config.patto={} /config
config.pattoo.cache_directory="/tmp" /config/pattoo
config.pattoo_agent_api.ip_adress="a" /config/pattoo_agent_api
"""
WRONG = """
spoke.image.digest="sha256:1"
hub.image.pullPolicy="Sometimes"
spoke.probes.liveness.periodSeconds=0
spoke.host.root.mountPropagation="Bidirectional"
spoke.seccompProfile={"type":"Unconfined"}
spoke.supplementalGroups=[0]
spoke.config.ip_bind_port=70000
spoke.enabled="false"
hub.persistence.size="2 GB"
hub.discovery="dns"
hub.extraEnv=[{"value":"1"}]
hub.config.ip_bind_port="5001"
hub.config.receive="yes"
config.pattoo.log_level="loud"
listenAddress="127.0.0.1"
"""


def refused(lines):
    """What the schema says when all of them are given at once: it names every fault."""
    done = kubernetes.install(*[f"--set-json={line}" for line in lines], check=False)
    assert done.returncode != 0 and "values don't meet the specifications of the schema" in done.stderr, done
    faults = re.findall(r"^ *- at '(.*?)': (.*)$", done.stderr, flags=re.MULTILINE)
    assert faults, done.stderr
    return faults


def test_a_misspelt_value_is_refused():
    lines = [line.rsplit(" ", 1) for line in MISSPELT.strip().splitlines()]
    faults = refused(line for line, _ in lines)
    for line, place in lines:
        # In a list it is not the name that is given.
        key = "resolv" if "resolv" in line else line.partition("=")[0].rpartition(".")[2]
        said = [what for where, what in faults if where == place.rstrip("/") and what.startswith("additional propert")]
        assert len(said) == 1 and f"'{key}'" in said[0], (line, faults)


def test_a_value_of_the_wrong_kind_is_refused():
    lines = WRONG.strip().splitlines()
    places = [place for place, _ in refused(lines)]
    for line in lines:
        place = "/" + line.partition("=")[0].replace(".", "/")
        assert [one for one in places if one == place or one.startswith(f"{place}/")], (line, places)


def objects_of(schema, place=""):
    """Every object that the schema describes, with its place; a definition under its name."""
    if schema.get("type") == "object":
        yield place, schema
    for key, inner in {**schema.get("properties", {}), **schema.get("definitions", {})}.items():
        yield from objects_of(inner, f"{place}/{key}")
    if "items" in schema:
        yield from objects_of(schema["items"], place)


def test_every_object_of_the_schema_is_closed_and_every_value_has_a_default():
    described = dict(objects_of(SCHEMA))
    assert len(described) > 20
    # Maps on purpose, and what Kubernetes judges.
    free = {"/texts", "/object", "/objects", "/named", "/resources/requests", "/resources/limits", "/global"}
    assert {place for place, schema in described.items() if schema.get("additionalProperties") is not False} == free
    # So that "helm show values" lists them all. Deeper, what has none leaves the program's or the cluster's in force.
    for place, values in (("", VALUES), ("/spoke", VALUES["spoke"]), ("/hub", VALUES["hub"])):
        assert set(values) == set(described[place]["properties"]) - {"global"}, place


def test_the_schema_has_every_key_of_the_programs():
    document = (PROJECT / "docs/configuration.md").read_text()
    for section, schema in {
        "pattoo": SCHEMA["properties"]["config"]["properties"]["pattoo"],
        "pattoo_agent_api": SCHEMA["properties"]["config"]["properties"]["pattoo_agent_api"],
        SPOKE: SCHEMA["properties"]["spoke"]["properties"]["config"],
        HUB: SCHEMA["properties"]["hub"]["properties"]["config"],
    }.items():
        (table,) = re.findall(rf"^\| key of `{section}` \|.*?\n\n", document + "\n\n", flags=re.MULTILINE | re.DOTALL)
        keys = set(re.findall(r"^\| `(\w+)`", table, flags=re.MULTILINE))
        assert keys - OF_THE_CHART[section] == set(schema["properties"]), section
        assert OF_THE_CHART[section] <= keys, section


def checked(binaries, folder, rendering, component, **changed):
    """What the real program says of the files in the ConfigMap, in the environment of the pod."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in rendering.one("ConfigMap", component)["data"].items():
        (folder / name).write_text(text)
    told = kubernetes.environment(component, rendering.pods()[component])
    told |= {"PATTOO_CONFIGDIR": str(folder), "PATTOO__DAEMON_DIRECTORY": str(folder / "daemon")} | changed
    return subprocess.run([binaries[PROGRAMS[component]], "--check"], env=told, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("component", PROGRAMS)
def test_the_programs_accept_their_configuration(binaries, tmp_path, component):
    for name, rendering in rendered(component).items():
        done = checked(binaries, tmp_path / name, rendering, component)
        assert done.returncode == 0 and "warning" not in done.stdout, (name, done)
        # Who may ask is the network policy's to say.
        assert all("warning: open to the world" in line for line in done.stderr.splitlines()), (name, done)
        section = rendering.configuration(component)[PROGRAMS[component]]
        address = kubernetes.environment(component, rendering.pods()[component])[f"{PROGRAMS[component].upper()}__IP_LISTEN_ADDRESS"]
        if component == "spoke":
            assert f"listens on: {f'[{address}]' if ':' in address else address}:{section['ip_bind_port']}\n" in done.stdout
            assert 'pattoo_agent_polled_target: "node-1" (configuration)' in done.stdout
        else:
            told = yaml.safe_load(done.stdout)
            assert told[HUB]["ip_listen_address"] == address, name
            assert {key: told[HUB][key] for key in section} == section, name
            api = rendering.configuration("hub")["pattoo_agent_api"]
            assert {key: told["pattoo_agent_api"][key] for key in api} == api, name
    # The judge does refuse.
    wrong = Rendering(feature(DEFAULTS).text.replace("ip_bind_port", "ip_bind_prot"), "")
    assert checked(binaries, tmp_path / "wrong", wrong, component).returncode == 2


def test_identity_outlives_the_pod(binaries, tmp_path):
    """Derived from the node's machine-id and name, wherever the chart mounts the machine-id: nothing is kept in the pod."""
    host = tmp_path / "host"
    (host / "etc").mkdir(parents=True)
    (host / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")

    def agent_id(run, **changed):
        done = checked(binaries, tmp_path / run, feature(DEFAULTS), "spoke", HOST_ROOT=str(host), **changed)
        return re.search(r'agent_id: "(\w+)" \(derived', done.stdout)[1]

    first = agent_id("first")
    assert agent_id("second") == first
    assert agent_id("third", PATTOO_AGENT_OS_SPOKED__HOSTNAME="node-2") != first
    for name, rendering in rendered("spoke").items():
        volumes, mounts = mounted(rendering.pods()["spoke"])
        root = mounts.get("/host/root")
        if root:
            assert volumes[root["name"]]["hostPath"]["path"] == "/", name
        else:
            # The program looks below "/" then, which is the container's.
            assert volumes[mounts["/etc/machine-id"]["name"]]["hostPath"] == {"path": "/etc/machine-id", "type": "File"}, name


def mounted(pod):
    """The pod's volumes by name, and its container's mounts by path."""
    (container,) = pod["spec"]["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert len(mounts) == len(container["volumeMounts"])
    return {volume["name"]: volume for volume in pod["spec"]["volumes"]}, mounts


def test_nobody_is_privileged():
    for name, rendering in features().items():
        for component, pod in rendering.pods().items():
            place, spec = (name, component), pod["spec"]
            assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec), place
            assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, place
            security = spec["securityContext"]
            assert security["runAsNonRoot"] is True and security["runAsUser"] == security["runAsGroup"] == 65532, place
            profile = {"seccomp": {"type": "Localhost", "localhostProfile": "profiles/pattoo.json"}}
            assert security["seccompProfile"] == profile.get(name, {"type": "RuntimeDefault"}), place
            (container,) = spec["containers"]
            assert container["securityContext"] == {
                "privileged": False,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, place
            assert not [port for port in container.get("ports", []) if "hostPort" in port], place
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys() and "memory" in container["resources"]["limits"], place


def test_the_node_is_mounted_read_only_and_folders_are_mounted_whole():
    for name, rendering in features().items():
        for component, pod in rendering.pods().items():
            volumes, mounts = mounted(pod)
            place = (name, component)
            for path, mount in mounts.items():
                assert "subPath" not in mount and "subPathExpr" not in mount, place
                volume = volumes[mount["name"]]
                if "emptyDir" in volume:
                    assert volume["emptyDir"]["sizeLimit"], place
                if "hostPath" in volume:
                    # Nobody but the spoke sees the node, so that the hub needs no more than the strictest Pod Security.
                    assert component == "spoke" and mount["readOnly"] is True, place
                if {"configMap", "secret"} & set(volume):
                    assert mount["readOnly"] is True, place
            assert mounts["/etc/pattoo"]["name"] == "config" and "configMap" in volumes["config"], place
            assert {mount["name"] for mount in mounts.values()} == set(volumes), place


def test_each_of_the_three_folders_can_be_switched_off():
    for name, enabled in {DEFAULTS: {"proc", "sys", "root"}, "no-root": {"proc", "sys"}, "no-host": set()}.items():
        pod = feature(name).pods()["spoke"]
        volumes, mounts = mounted(pod)
        told = kubernetes.environment("spoke", pod)
        for part, path in {"proc": "/proc", "sys": "/sys", "root": "/"}.items():
            if part in enabled:
                mount = mounts[told[f"HOST_{part.upper()}"]]
                assert volumes[mount["name"]]["hostPath"]["path"] == path and mount["mountPropagation"] == "HostToContainer"
            else:
                assert f"HOST_{part.upper()}" not in told and f"host-{part}" not in volumes, (name, part)
    _, mounts = mounted(feature("propagation").pods()["spoke"])
    assert {mounts[f"/host/{part}"]["mountPropagation"] for part in ("proc", "sys", "root")} == {"None"}
    assert feature("hidepid").pods()["spoke"]["spec"]["securityContext"]["supplementalGroups"] == [1500]


def test_the_hub_has_room_and_time():
    for name, rendering in rendered("hub").items():
        deployment, section = rendering.one("Deployment", "hub"), rendering.configuration("hub")[HUB]
        assert deployment["spec"]["replicas"] == 1 and deployment["spec"]["strategy"] == {"type": "Recreate"}
        spec = deployment["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= section["graceful_timeout"] + 5, name
        volumes, mounts = mounted(deployment["spec"]["template"])
        # Above cache_directory and daemon_directory, whose defaults are in force.
        volume = volumes[mounts["/var/lib/pattoo"]["name"]]
        size = volume.get("emptyDir", {}).get("sizeLimit")
        if not size and name != "existing-claim":
            claim = rendering.one("PersistentVolumeClaim", "hub")
            assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
            size = claim["spec"]["resources"]["requests"]["storage"]
        wanted = section["max_bytes"] + section["quarantine_max_bytes"]
        assert name == "existing-claim" or kubernetes.bytes_of(size) >= wanted * 1.05, name
    assert feature("existing-claim").find("PersistentVolumeClaim", "hub") is None


def test_labels_are_the_usual_ones_and_selectors_find_their_pods():
    for name, rendering in features().items():
        for one in rendering.objects:
            labels = one["metadata"]["labels"]
            wanted = {"name", "instance", "version", "component", "part-of", "managed-by"}
            assert {f"app.kubernetes.io/{label}" for label in wanted} | {"helm.sh/chart"} <= set(labels), (name, one["kind"])
            assert one["metadata"]["namespace"] == NAMESPACE
            assert len(one["metadata"]["name"]) <= 63
        pods = {component: pod["metadata"]["labels"] for component, pod in rendering.pods().items()}
        for one in rendering.objects:
            selector = one.get("spec", {}).get("selector")
            if selector is None:
                continue
            selector = selector if {"matchLabels", "matchExpressions"} & set(selector) else {"matchLabels": selector}
            found = {component for component, labels in pods.items() if kubernetes.matches(selector, labels)}
            assert found == {one["metadata"]["labels"]["app.kubernetes.io/component"]}, (name, one["kind"], found)
            if one["kind"] in CONTROLLERS.values():
                # It cannot be changed after the fact: nothing in it may hang on a version or on values of the user's.
                assert set(selector["matchLabels"]) == {f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}


def test_services_and_targets_lead_to_the_ports_of_the_pods():
    for name, rendering in features().items():
        pods = rendering.pods()
        for component in set(pods) - {"test"}:
            service = rendering.one("Service", component)
            (port,), ports = service["spec"]["ports"], End.of(pods[component]).ports
            assert ports == {"http": rendering.configuration(component)[PROGRAMS[component]]["ip_bind_port"]}, name
            assert port["targetPort"] == "http" and port["port"] == ports["http"], name
        if "spoke" in pods:
            assert rendering.one("Service", "spoke")["spec"]["clusterIP"] == "None"
        if {"spoke", "hub"} <= set(pods):
            service = rendering.one("Service", "spoke")
            target = {"ip_address": service["metadata"]["name"], "ip_bind_port": service["spec"]["ports"][0]["port"]}
            first = rendering.configuration("hub")[HUB]["ip_devices"][0]
            assert first == (target if name == "discovery" else target | {"resolve": "all"}), name


def test_policies_let_through_what_is_needed_and_nothing_else():
    stranger = End({"app": "stranger"}, {"kubernetes.io/metadata.name": NAMESPACE}, {})
    elsewhere = End({"app": "stranger"}, {"kubernetes.io/metadata.name": "elsewhere"}, {})
    prometheus = {
        DEFAULTS: End({"app": "any"}, {"kubernetes.io/metadata.name": "monitoring"}),
        "monitoring": End({"app.kubernetes.io/name": "prometheus"}, {"kubernetes.io/metadata.name": "observability"}),
    }
    for name, rendering in features().items():
        policies = rendering.of_kind("NetworkPolicy")
        ends = {component: End.of(pod) for component, pod in rendering.pods().items()}
        if name == "network-open":
            assert policies == [] and kubernetes.may(policies, stranger, ends["spoke"], 5000)
            continue

        def may(source, target, port, protocol="TCP"):
            return kubernetes.may(policies, source, target, port, protocol)

        outside, dns = End(address="192.0.2.7"), End({"k8s-app": "kube-dns"}, {"kubernetes.io/metadata.name": "kube-system"})
        for component in set(ends) - {"test"}:
            end = ends[component]
            assert not may(stranger, end, end.ports["http"]) and not may(elsewhere, end, end.ports["http"]), (name, component)
            if name in prometheus:
                assert may(prometheus[name], end, end.ports["http"]) and not may(prometheus[name], end, 1), (name, component)
        if "spoke" in ends:
            for target, port, protocol in ((outside, 443, "TCP"), (dns, 53, "UDP"), (ends.get("hub", stranger), 5001, "TCP")):
                assert not may(ends["spoke"], target, port, protocol), name
        for asking in {"hub", "test"} & set(ends):
            assert may(ends[asking], dns, 53, "UDP") and may(ends[asking], dns, 53) and not may(ends[asking], outside, 443)
            if "spoke" in ends:
                port = ends["spoke"].ports["http"]
                assert may(ends[asking], ends["spoke"], port) and not may(ends[asking], ends["spoke"], port + 1), (name, asking)
            api = rendering.configuration("hub")["pattoo_agent_api"]
            assert may(ends[asking], outside, api.get("ip_bind_port", 20201)) == ("ip_address" in api), name
            devices = rendering.configuration("hub")[HUB].get("ip_devices", [])
            for device in devices[1 if "spoke" in ends else 0 :]:
                assert may(ends[asking], End(address="192.0.2.9"), device["ip_bind_port"]), (name, device)
        if name == "upstream":
            assert not may(ends["hub"], End(address="192.0.2.8"), 20202)
        if name == "receive":
            assert may(outside, ends["hub"], 20201) and not may(End(address="198.51.100.1"), ends["hub"], 20201)


def test_the_paths_that_are_asked_are_served(rig):
    spoke = rig.spoke()
    served = {"spoke": spoke, "hub": rig.hub(devices=[spoke.port])}
    for name, rendering in features().items():
        for component in set(rendering.pods()) - {"test"}:
            (container,) = rendering.pods()[component]["spec"]["containers"]
            asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "liveness", "readiness")}
            paths = {probe: get["path"] for probe, get in asked.items()}
            # What restarts a pod asks the process alone.
            assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}, name
            assert {get["port"] for get in asked.values()} == {"http"}, name
            monitors = [one["spec"] for one in rendering.of_kind("PodMonitor") + rendering.of_kind("ServiceMonitor")]
            endpoints = [end for spec in monitors for end in spec.get("podMetricsEndpoints", spec.get("endpoints"))]
            assert {end["port"] for end in endpoints} <= {"http"}
            for path in {*paths.values(), *(end["path"] for end in endpoints)}:
                assert served[component].get(path).status == 200, (component, path)
            startup = container["startupProbe"]
            assert startup["failureThreshold"] * startup["periodSeconds"] >= 60, name
