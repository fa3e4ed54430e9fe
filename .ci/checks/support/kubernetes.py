"""The chart as the real helm renders it, and what a cluster would make of it."""

import functools
import ipaddress
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import kubernetes_validate
import yaml

from support.paths import CI, HUB, PROJECT, SPOKE

CHART = PROJECT / "helm"
GOLDEN = CI / "checks" / "golden-helm"
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pattoo-hub-and-spoke" / "kubernetes" / "bin"
FEATURES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))
PROGRAMS = {"spoke": SPOKE, "hub": HUB}
NAMESPACE = "watched"
# What Prometheus Operator brings: no schema of Kubernetes' own.
OPERATOR = "monitoring.coreos.com/v1"


class Loader(yaml.CSafeLoader):
    """YAML in which a key stands once."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"given twice: {twice}, line {node.start_mark.line + 1}"
        return super().construct_mapping(node, deep)


def load(text):
    return [one for one in yaml.load_all(text, Loader) if one]


def run(tool, *arguments, check=True):
    """One of the tools, in a home of nobody's: it must find no cluster."""
    environment = os.environ | {"KUBECONFIG": os.devnull}
    done = subprocess.run([TOOLS / tool, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    assert not check or done.returncode == 0, f"{tool} {arguments}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


@dataclass
class Rendering:
    """What `helm install` would make with some values."""

    text: str
    notes: str

    def __post_init__(self):
        self.objects = load(self.text)

    def of_kind(self, kind):
        return [one for one in self.objects if one["kind"] == kind]

    def one(self, kind, component):
        found = self.find(kind, component)
        assert found, f"no {kind} of {component}"
        return found

    def find(self, kind, component):
        found = [one for one in self.of_kind(kind) if one["metadata"]["labels"]["app.kubernetes.io/component"] == component]
        assert len(found) < 2, found
        return found[0] if found else None

    def pods(self):
        """Every pod's template, by its component."""
        made = {}
        for one in self.objects:
            template = one if one["kind"] == "Pod" else one.get("spec", {}).get("template")
            if template:
                made[template["metadata"]["labels"]["app.kubernetes.io/component"]] = template
        return made

    def configuration(self, component):
        """The sections of the component's files, as they stand in its ConfigMap."""
        files = self.one("ConfigMap", component)["data"]
        assert set(files) == {"pattoo.yaml", f"{PROGRAMS[component]}.yaml"}
        return {name: section for text in files.values() for name, section in load(text)[0].items()}


def install(*arguments, check=True):
    """`helm install` as far as it goes without a cluster."""
    return run("helm", "install", "pattoo", CHART, "--namespace", NAMESPACE, "--dry-run=client", "--output=json", *arguments, check=check)


def render(*arguments):
    told = json.loads(install(*arguments).stdout)
    texts = [f"# Source: {hook['path']}\n{hook['manifest']}" for hook in told.get("hooks", [])]
    text = "---\n".join([told["manifest"], *texts])
    return Rendering(text, told["info"]["notes"])


def values(feature):
    return CHART / "ci" / f"{feature}-values.yaml"


@functools.cache
def feature(name):
    return render("--values", values(name))


def features():
    return {name: feature(name) for name in FEATURES}


# A file of schemas holds megabytes, and is read anew for each object.
kubernetes_validate.utils.schema_contents = functools.cache(kubernetes_validate.utils.schema_contents)


@functools.cache
def _fault(text, version):
    one = json.loads(text)
    try:
        kubernetes_validate.validate(one, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as fault:
        where = ".".join(str(step) for step in getattr(fault, "absolute_path", []))
        return f"{one['kind']} {one['metadata']['name']}: {where}: {fault.message}"
    return None


def faults(objects, version):
    """What Kubernetes of that version has against the objects."""
    found = (_fault(json.dumps(one, sort_keys=True), version) for one in objects if one["apiVersion"] != OPERATOR)
    return sorted({fault for fault in found if fault})


def environment(component, pod, node="node-1"):
    """What the program finds in its environment: the image's, then the pod's."""
    dockerfile = (PROJECT / f"Dockerfile.{component}").read_text()
    # The last stage's.
    image = re.findall(r"^ENV (.*)$", dockerfile, flags=re.MULTILINE)[-1]
    found = dict(pair.split("=", 1) for pair in image.split())
    for variable in pod["spec"]["containers"][0]["env"]:
        field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        assert field in (None, "spec.nodeName"), variable
        found[variable["name"]] = node if field else variable["value"]
    return found


def bytes_of(quantity):
    number, unit = re.fullmatch(r"(\d+)([KMGT]?i?)", quantity).groups()
    return int(number) * {"": 1, "Mi": 1 << 20, "Gi": 1 << 30}[unit]


def matches(selector, labels):
    """Whether a label selector selects; an empty one selects all."""
    operators = {
        "In": lambda key, wanted: labels.get(key) in wanted,
        "NotIn": lambda key, wanted: labels.get(key) not in wanted,
        "Exists": lambda key, _: key in labels,
        "DoesNotExist": lambda key, _: key not in labels,
    }
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        operators[one["operator"]](one["key"], one.get("values")) for one in selector.get("matchExpressions", [])
    )


@dataclass
class End:
    """One end of a connection: a pod (its labels, its namespace's, its ports' names), or an address outside."""

    labels: dict | None = None
    namespace: dict | None = None
    ports: dict | None = None
    address: str | None = None

    @classmethod
    def of(cls, pod):
        ports = {port["name"]: port["containerPort"] for one in pod["spec"]["containers"] for port in one.get("ports", [])}
        return cls(pod["metadata"]["labels"], {"kubernetes.io/metadata.name": NAMESPACE}, ports)

    def is_peer(self, peer):
        if "ipBlock" in peer:
            return self.address is not None and ipaddress.ip_address(self.address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
        if self.labels is None:
            return False
        # Without a namespaceSelector the policy's own namespace is meant.
        spaces = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}})
        return matches(spaces, self.namespace) and matches(peer.get("podSelector", {}), self.labels)


def may(policies, source, target, port, protocol="TCP"):
    """Whether the policies let a connection from one end to a port of the other: both directions must allow it."""

    def allowed(direction, own, other):
        if own.labels is None or own.namespace != {"kubernetes.io/metadata.name": NAMESPACE}:
            return True
        about = [one["spec"] for one in policies if matches(one["spec"]["podSelector"], own.labels)]
        about = [spec for spec in about if direction.capitalize() in spec["policyTypes"]]
        if not about:
            return True
        way = "from" if direction == "ingress" else "to"
        return any(
            (not rule.get("ports") or any(is_port(one) for one in rule["ports"]))
            and (not rule.get(way) or any(other.is_peer(peer) for peer in rule[way]))
            for spec in about
            for rule in spec.get(direction, [])
        )

    def is_port(rule):
        number = rule["port"] if isinstance(rule["port"], int) else (target.ports or {}).get(rule["port"])
        return number == port and rule.get("protocol", "TCP") == protocol

    return allowed("egress", source, target) and allowed("ingress", target, source)
