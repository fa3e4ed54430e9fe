"""The life of a release on a real cluster: see .ci/cluster."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

from plane import Plane, run, until

PROJECT = Path(__file__).resolve().parents[2]
NAMESPACE = "pattoo"
COMPONENT = "app.kubernetes.io/component"


class Release:
    """The chart in the cluster, and the stand-in that it delivers to."""

    def __init__(self, plane, folder):
        self.plane, self.folder = plane, Path(folder)
        self.chart = self.folder / "chart"
        shutil.copytree(PROJECT / "helm", self.chart)
        file = self.chart / "Chart.yaml"
        text, changes = re.subn(r'(?m)^kubeVersion: .*$', 'kubeVersion: ">=1.20.0-0"', file.read_text())
        assert changes == 1
        file.write_text(text)
        self.version = re.search(r"(?m)^appVersion: (\S+)$", text)[1]
        self.server, self.server_address = self._stand_in()

    def _stand_in(self):
        config = self.folder / "server"
        shutil.copytree(PROJECT / "deploy/compose/server", config)
        config.chmod(0o755)
        started = run("docker", "run", "--detach", "--read-only", "--cap-drop=ALL", f"--volume={config}:/etc/pattoo:ro", "--tmpfs=/run/pattoo:uid=65532",
                      "--tmpfs=/var/lib/pattoo/cache:uid=65532", "--tmpfs=/var/lib/pattoo/daemon:uid=65532", "pattoo/hub").stdout.strip()  # fmt: skip
        found = run("docker", "inspect", "--format={{.NetworkSettings.IPAddress}}", started).stdout.strip()
        return started, found

    def close(self):
        run("docker", "rm", "--force", self.server, check=False)

    def values(self, **changed):
        """The values of a release: those that are needed here, then what is changed."""
        shared = "shared" in (run("findmnt", "--noheadings", "--output=PROPAGATION", "/").stdout)
        propagation = "HostToContainer" if shared else "None"
        values = {
            "config.pattoo_agent_api.ip_address": self.server_address,
            "hub.config.polling_interval": 2,
            "hub.config.backoff_max": 2,
            **{f"spoke.host.{part}.mountPropagation": propagation for part in ("proc", "sys", "root")},
        }
        return [f"--set-json={key}={json.dumps(value)}" for key, value in (values | changed).items()]

    def helm(self, action, *arguments):
        return self.plane.helm(action, "pattoo", *arguments, f"--namespace={NAMESPACE}")

    def pods(self, component):
        found = self.plane.get("pods", NAMESPACE, f"--selector={COMPONENT}={component}")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def running(self, component, but=()):
        """The one pod of the component, once it is ready; none of `but`."""

        def ready():
            pods = self.pods(component)
            if len(pods) != 1 or pods[0]["metadata"]["uid"] in but:
                return None
            states = {one["type"]: one["status"] for one in pods[0]["status"].get("conditions", [])}
            return states.get("Ready") == "True" and pods[0]

        return until(ready, lambda: f"a {component} is ready:\n{self.described(component)}")

    def described(self, component):
        return self.plane.kubectl("describe", "pods", f"--namespace={NAMESPACE}", f"--selector={COMPONENT}={component}", check=False).stdout[-3000:]

    def ask(self, pod, path):
        port = pod["spec"]["containers"][0]["ports"][0]["containerPort"]
        with urllib.request.urlopen(f"http://{pod['status']['podIP']}:{port}{path}", timeout=10) as answer:
            return answer.read().decode()

    def agent_id(self):
        return json.loads(self.ask(self.running("spoke"), "/pattoo-agent-os/300"))["pattoo_agent_id"]

    def taken(self):
        with urllib.request.urlopen(f"http://{self.server_address}:20201/metrics", timeout=10) as answer:
            text = answer.read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("pattoo_hub_posts_taken_total"))

    def more_posts(self, wanted=3):
        """New posts arrive at the stand-in."""
        before = self.taken()
        logs = ("logs", f"--namespace={NAMESPACE}", "deployment/pattoo-hub", "--tail=20")
        until(lambda: self.taken() >= before + wanted, lambda: f"posts arrive:\n{self.plane.kubectl(*logs, check=False).stdout}")
        return f"{int(self.taken() - before)} more posts at the stand-in"


def installed(release):
    release.helm("install", str(release.chart), *release.values(), "--wait=watcher", "--timeout=3m")
    pods = [release.running(component) for component in ("spoke", "hub")]
    for pod in pods:
        (status,) = pod["status"]["containerStatuses"]
        assert pod["status"]["phase"] == "Running" and not pod["spec"].get("hostNetwork") and not pod["spec"].get("hostPID"), pod
        assert pod["status"]["qosClass"] == "Burstable" and status["restartCount"] == 0, status
    return "DaemonSet and Deployment Running; " + release.more_posts()


def tested(release):
    done = release.helm("test", "--logs", "--timeout=2m")
    said = [line for line in done.stdout.splitlines() if "pattoo-spoke" in line and "5000" in line]
    return f"helm test: {said[-1].strip() if said else 'succeeded'}"


def told_of_the_node(release):
    spoke = release.running("spoke")
    post = json.loads(release.ask(spoke, "/pattoo-agent-os/300"))
    pairs = dict(map(tuple, post["pattoo_datapoints"]["key_value_pairs"].values()))
    memory = int(re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024
    values = [pair[1] for pair in post["pattoo_datapoints"]["key_value_pairs"].values() if pair[0] == "pattoo_value"]
    assert memory in values and pairs["hostname"] == "node-1"
    names = {line.partition(":")[0].strip() for line in Path("/proc/1/net/dev").read_text().splitlines()[2:]}
    told = {value for key, value in post["pattoo_datapoints"]["key_value_pairs"].values() if key == "network_io_interface"}
    assert told <= names and "docker0" in told and "eth0" not in told - names, (told, names)
    return f"the node's numbers: memory {memory} bytes, interfaces {', '.join(sorted(told))}"


def upgraded(release):
    before = {component: release.running(component)["metadata"]["uid"] for component in ("spoke", "hub")}
    identity = release.agent_id()
    changed = {"restartOnConfigChange": True, "spoke.config.network_exclude": "veth.*|docker.*", "hub.config.polling_interval": 1}
    release.helm("upgrade", str(release.chart), *release.values(**changed), "--wait=watcher", "--timeout=3m")
    spoke = release.running("spoke", but=before.values())
    release.running("hub", but=before.values())
    assert "docker0" not in release.ask(spoke, "/pattoo-agent-os/300"), "the changed configuration is in force"
    assert release.agent_id() == identity
    return f"both pods replaced, the new configuration in force, the agent_id the same; {release.more_posts()}"


def killed(release):
    identity = release.agent_id()
    hub = release.running("hub")
    own = release.plane.folder / "volume/daemon/agent_id/pattoo_agent_os_hubd.agent_id"
    hub_identity = own.read_text()
    for component in ("spoke", "hub"):
        pod = release.running(component)
        release.plane.kubectl("delete", "pod", pod["metadata"]["name"], f"--namespace={NAMESPACE}", "--grace-period=0", "--force")
        again = release.running(component, but=(pod["metadata"]["uid"], hub["metadata"]["uid"] if component == "hub" else ""))
        assert again["metadata"]["name"] != pod["metadata"]["name"]
    assert release.agent_id() == identity and own.read_text() == hub_identity
    # And a program that dies in its pod.
    spoke = release.running("spoke")
    container = spoke["status"]["containerStatuses"][0]["containerID"].removeprefix("docker://")
    run("docker", "kill", container)
    until(lambda: release.running("spoke")["status"]["containerStatuses"][0]["restartCount"] == 1, "the kubelet starts it again")
    assert release.agent_id() == identity
    return f"pods and a program killed, back as {identity[:12]}...; {release.more_posts()}"


def changed_in_place(release):
    """The kubelet swaps the folder; what the program makes of it, its own page tells."""
    release.helm("upgrade", str(release.chart), *release.values(restartOnConfigChange=False), "--wait=watcher", "--timeout=3m")
    hub = release.running("hub")
    release.more_posts()
    changed = release.values(**{"restartOnConfigChange": False, "hub.config.polling_interval": 1})
    release.helm("upgrade", str(release.chart), *changed, "--wait=watcher", "--timeout=3m")
    assert release.running("hub")["metadata"]["uid"] == hub["metadata"]["uid"], "no pod is replaced"

    def swapped():
        shown = release.plane.kubectl("exec", f"--namespace={NAMESPACE}", hub["metadata"]["name"], "--", "/pattoo_agent_os_hubd", "--check", check=False).stdout
        return "polling_interval: 1\n" in shown

    until(swapped, "the folder has the new ConfigMap")

    def in_force():
        """Five posts in less than eight seconds, where they took ten."""
        before, began = release.taken(), time.monotonic()
        until(lambda: release.taken() >= before + 5, "posts arrive")
        return time.monotonic() - began < 8

    until(in_force, "the hub polls every second", 60)
    assert release.running("hub")["status"]["containerStatuses"][0]["restartCount"] == 0
    return "in force without a restart: polled every second"


def rolled_back(release):
    release.helm("rollback", "1", "--wait=watcher", "--timeout=3m")
    until(lambda: "docker0" in release.ask(release.running("spoke"), "/pattoo-agent-os/300"), "the first configuration is in force")
    return f"the first configuration in force; {release.more_posts()}"


def uninstalled(release):
    release.helm("uninstall", "--wait=watcher", "--timeout=3m")
    kinds = "pods,daemonsets,deployments,services,configmaps,networkpolicies,persistentvolumeclaims"
    left = until(lambda: (lambda found: len(found) == 1 and found)([
        f"{one['kind']}/{one['metadata']['name']}" for one in release.plane.get(kinds, NAMESPACE) if one["metadata"]["name"] != "kube-root-ca.crt"
    ]), "all but the claim is gone")  # fmt: skip
    assert left == ["PersistentVolumeClaim/pattoo-hub"], left
    return "nothing left but the volume claim"


STEPS = [installed, tested, told_of_the_node, upgraded, killed, changed_in_place, rolled_back, uninstalled]


def prepare(plane):
    """A namespace and a volume, as whoever runs the cluster has them."""
    volume = plane.folder / "volume"
    volume.mkdir()
    shutil.chown(volume, 65532, 65532)
    plane.kubectl("create", "namespace", NAMESPACE)
    claim = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "posts"},
             "spec": {"capacity": {"storage": "2Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": str(volume)}}}  # fmt: skip
    (plane.folder / "volume.json").write_text(json.dumps(claim))
    plane.kubectl("apply", f"--filename={plane.folder}/volume.json")
    until(lambda: plane.kubectl("get", "serviceaccount", "default", f"--namespace={NAMESPACE}", check=False).returncode == 0, "the namespace is ready")


def main(made, keep):
    folder = Path(tempfile.mkdtemp(prefix="pattoo-cluster."))
    folder.chmod(0o755)
    try:
        for tag in ("spoke", "hub"):
            version = re.search(r"(?m)^appVersion: (\S+)$", (PROJECT / "helm/Chart.yaml").read_text())[1]
            run("docker", "tag", f"pattoo/{tag}:latest", f"pattoo/{tag}:{version}")
        with Plane(made, folder) as plane:
            print(f"API server {json.loads(plane.kubectl('version', '--output=json').stdout)['serverVersion']['gitVersion']}; its files are in {folder}", flush=True)
            prepare(plane)
            release = Release(plane, folder)
            # Names follow the pods while helm waits.
            stop = threading.Event()

            def follow():
                while not stop.wait(1):
                    try:
                        plane.tell_names(NAMESPACE)
                    except (SystemExit, KeyError, ValueError, subprocess.TimeoutExpired):
                        continue

            following = threading.Thread(target=follow)
            following.start()
            try:
                for step in STEPS:
                    if keep and step is uninstalled:
                        input(f"export KUBECONFIG={plane.kubeconfig}; press enter to end it ")
                    before = time.monotonic()
                    try:
                        told = step(release)
                    except (SystemExit, AssertionError):
                        print(f"{step.__name__} failed", *(release.described(component) for component in ("spoke", "hub")), plane.log("kubelet"), sep="\n", file=sys.stderr)
                        raise
                    print(f"{step.__name__:>18} {time.monotonic() - before:5.0f} s  {told}", flush=True)
            finally:
                stop.set()
                following.join()
                release.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main(sys.argv[1], "--keep" in sys.argv[2:])
