"""One Compose project of the checks' own: random name, random ports, removed at the end with its volumes."""

import json
import os
import secrets
import subprocess
import time

from support import metrics, requests, waiting
from support.paths import HUB, PROJECT, SPOKE

SPOKES = ("spoke-a", "spoke-b", "spoke-c")
SERVICES = (*SPOKES, "hub", "server")
IMAGES = {"spoke": "pattoo/spoke", "hub": "pattoo/hub"}
PORTS = ("PATTOO_HUB_PORT", "PATTOO_SERVER_PORT", "PATTOO_SPOKE_A_PORT", "PATTOO_SPOKE_B_PORT", "PATTOO_SPOKE_C_PORT")
UP = 120


def docker(*arguments, check=True, timeout=120, environment=None):
    done = subprocess.run(
        ["docker", *arguments],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-5000:]}"
    return done


def environment(project, ports="0"):
    """The caller's, without its settings of our programs; ports as the kernel gives them, unless told."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PATTOO", "COMPOSE_"))}
    return clean | {"COMPOSE_PROJECT_NAME": project} | {name: ports for name in PORTS}


def build():
    """Both images, in one build that shares what they have in common."""
    docker("compose", "--progress", "plain", "build", timeout=1800, environment=environment("checks"))


class Compose:
    """`docker compose` over the project's file, and what a check asks of the containers."""

    def __init__(self, folder, override=None):
        self.project = f"checks-{secrets.token_hex(4)}"
        self.environment = environment(self.project)
        self.files = ["--file", str(PROJECT / "docker-compose.yml")]
        if override:
            path = folder / "override.json"
            path.write_text(json.dumps({"services": override}))
            self.files += ["--file", str(path), "--project-directory", str(PROJECT)]
        self.addresses = {}

    def __call__(self, *arguments, **options):
        return docker("compose", *self.files, "--progress", "quiet", *arguments, environment=self.environment, **options)

    def up(self, *services):
        self("up", "--detach", "--no-build", *services, timeout=UP)

    def container(self, service):
        found = self("ps", "--all", "--quiet", service).stdout.split()
        assert len(found) == 1, f"{service}: {found}"
        return found[0]

    def inspect(self, service):
        return json.loads(docker("inspect", self.container(service)).stdout)[0]

    def state(self, service):
        return self.inspect(service)["State"]

    def wait_state(self, service, seconds, **wanted):
        def reached():
            state = self.state(service)
            return all(state[name] == value for name, value in wanted.items())

        waiting.until(reached, seconds, lambda: f"{service} {wanted}: {self.state(service)}")

    def wait_healthy(self, service, seconds=40):
        waiting.until(
            lambda: self.state(service)["Health"]["Status"] == "healthy",
            seconds,
            lambda: f"{service} healthy: {self.state(service)}\n{self.logs(service)}",
        )

    def network(self):
        return f"{self.project}_default"

    def gateway(self):
        return json.loads(docker("network", "inspect", self.network()).stdout)[0]["IPAM"]["Config"][0]["Gateway"]

    def address(self, service, port):
        """Where this host reaches a container, looked up once; `moved` forgets it."""
        if service not in self.addresses:
            self.addresses[service] = self.inspect(service)["NetworkSettings"]["Networks"][self.network()]["IPAddress"]
        return self.addresses[service], port

    def moved(self, service):
        self.addresses.pop(service, None)

    def published(self, service, port):
        """The port of 127.0.0.1 that leads to a container's."""
        host, _, number = self("port", service, str(port)).stdout.strip().rpartition(":")
        assert host == "127.0.0.1", f"{service} is published on {host}"
        return int(number)

    def metrics(self, service):
        port = self.published(service, {"hub": 5001, "server": 20201}.get(service, 5000))
        return metrics.read(requests.send("GET", port, "/metrics").body)

    def exec(self, service, *command):
        return self("exec", "--no-TTY", service, *command, check=False)

    def logs(self, service):
        return self("logs", "--tail", "40", service, check=False).stdout

    def stop_time(self, service):
        """Seconds that `docker stop` took; its container must have ended by itself, with 0."""
        container = self.container(service)
        before = time.monotonic()
        docker("stop", "--time", "30", container)
        took = time.monotonic() - before
        state = self.state(service)
        assert (state["Status"], state["ExitCode"], state["OOMKilled"]) == ("exited", 0, False), state
        return took

    def close(self):
        for service in SERVICES:
            for container in self("ps", "--all", "--quiet", service, check=False).stdout.split():
                docker("unpause", container, check=False)
        self("down", "--volumes", "--remove-orphans", "--timeout", "1", check=False)


def program(service):
    return f"/{SPOKE if service in SPOKES else HUB}"
