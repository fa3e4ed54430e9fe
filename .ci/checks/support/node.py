"""The spoke's pod, as the chart makes it, as a container of the engine: mounted, restricted and told what the pod would be.

And what the machine itself says of its numbers. Where the checks have a root of their own, the machine is the engine's.
"""

import os
import re
from pathlib import Path

from support import kubernetes, metrics, mounting, requests, waiting
from support.compose import docker
from support.judge import judge

# Where the engine's host is seen, with `proc` and `root`: .ci/fresh-root has a root of its own, and the engine outside.
ENGINE_HOST = os.environ.get("CHECKS_ENGINE_HOST", "")
PROC = Path(f"{ENGINE_HOST}/proc")
MIB = 1 << 20
# Runs a command where the engine's containers get their mounts from: there, .ci/fresh-root has a process to enter by.
_NAMESPACES = f"{PROC}/{os.environ.get('CHECKS_ENGINE_PROCESS')}/ns"
ON_THE_HOST = ["nsenter", f"--mount={_NAMESPACES}/mnt", f"--pid={_NAMESPACES}/pid"] if ENGINE_HOST else []


class Pod:
    """A spoke in a container. `paths` replaces folders of the machine's, by what the pod mounts them as."""

    def __init__(self, rendering, image, folder, node="node-1.example.com", paths=None, options=()):
        self.template = rendering.pods()["spoke"]
        config = Path(folder) / "config"
        config.mkdir(parents=True)
        for name, text in rendering.one("ConfigMap", "spoke")["data"].items():
            (config / name).write_text(text)
        config.chmod(0o755)
        self.settings = rendering.configuration("spoke")["pattoo_agent_os_spoked"]
        arguments = self._arguments(config, node, paths or {})
        self.id = docker("run", "--detach", *arguments, *options, image, *self.container["args"]).stdout.strip()
        try:
            self.port = int(docker("port", self.id, str(self.settings["ip_bind_port"])).stdout.rpartition(":")[2])
            waiting.until(lambda: requests.answers(self.port), 30, lambda: f"the spoke answers:\n{self.log()}")
        except BaseException:
            self.close()
            raise

    @property
    def container(self):
        (container,) = self.template["spec"]["containers"]
        return container

    def _arguments(self, config, node, paths):
        security, limits = self.template["spec"]["securityContext"], self.container["resources"]["limits"]
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, "which is the engine's default"
        yield from ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", f"--user={security['runAsUser']}:{security['runAsGroup']}")
        yield from (f"--memory={kubernetes.bytes_of(limits['memory'])}", "--cpus=0.5", "--pids-limit=64")
        yield from (f"--group-add={group}" for group in security.get("supplementalGroups", []))
        yield f"--publish=127.0.0.1::{self.settings['ip_bind_port']}"
        for variable in self.container["env"]:
            yield f"--env={variable['name']}={variable.get('value', node)}"
        volumes = {volume["name"]: volume for volume in self.template["spec"]["volumes"]}
        for mount in self.container["volumeMounts"]:
            volume, target = volumes[mount["name"]], mount["mountPath"]
            if "emptyDir" in volume:
                yield f"--tmpfs={target}:uid={security['fsGroup']},gid={security['fsGroup']},mode=0750"
            else:
                source = config if "configMap" in volume else paths.get(target, volume["hostPath"]["path"])
                assert mount["readOnly"] is True
                yield f"--volume={source}:{target}:ro"

    def get(self, path):
        return requests.send("GET", self.port, path)

    def post(self):
        answer = self.get("/pattoo-agent-os/300")
        assert answer.status == 200, answer
        return judge(answer.body)

    def metrics(self):
        return metrics.read(self.get("/metrics").body)

    def log(self):
        done = docker("logs", self.id, check=False)
        return done.stdout + done.stderr

    def address(self):
        return docker("inspect", "--format={{.NetworkSettings.IPAddress}}", self.id).stdout.strip()

    def close(self):
        docker("rm", "--force", self.id, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# What the machine says, read without any of ours.


def interfaces(excluded):
    """The counts of each interface that is not excluded: the received bytes and packets, the sent ones."""
    found = {}
    for line in (PROC / "1/net/dev").read_text().splitlines()[2:]:
        name, _, counts = line.rpartition(":")
        received, packets, *_, sent, sent_packets = [int(count) for count in counts.split()][:10]
        if not re.fullmatch(excluded, name.strip()):
            found[name.strip()] = (received, packets, sent, sent_packets)
    return found


def processes():
    return sum(name.isdigit() for name in os.listdir(PROC))


def cpus():
    return sum(bool(re.match(r"cpu\d", line)) for line in (PROC / "stat").read_text().splitlines())


def memory_total():
    return int(re.search(r"^MemTotal: +(\d+) kB$", (PROC / "meminfo").read_text(), flags=re.MULTILINE)[1]) * 1024


def partitions(excluded):
    """The mount points that count by WIRE.md, each with whether user 65532 may ask how full it is."""
    kinds = {line.split()[-1] for line in (PROC / "filesystems").read_text().splitlines() if not line.startswith("nodev")}
    points = set()
    for line in (PROC / "1/mounts").read_text().splitlines():
        device, point, kind = line.split(" ")[:3]
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), point)
        if kind in kinds and device != "none" and "docker" not in point and not re.fullmatch(excluded, point):
            points.add(point)
    return {point: may_ask(point) for point in points}


def may_ask(point):
    as_user = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups", "--"]
    return mounting.status(*ON_THE_HOST, *as_user, "stat", "--file-system", point) == 0
