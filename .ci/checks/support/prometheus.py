"""Debian's Prometheus on a free port, and what it answers."""

import json
import subprocess
from pathlib import Path
from urllib.parse import quote

from support import requests, waiting
from support.exporter import PROMETHEUS
from support.ports import free_port


class Prometheus:
    """`configuration` is that of prometheus.yml; what it keeps and says is in `folder`."""

    def __init__(self, folder, configuration):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        # JSON is YAML.
        (self.folder / "prometheus.yml").write_text(json.dumps(configuration))
        self.port = free_port()

    def __enter__(self):
        options = {"config.file": self.folder / "prometheus.yml", "storage.tsdb.path": self.folder / "data", "web.listen-address": f"127.0.0.1:{self.port}"}
        with (self.folder / "log").open("wb") as log:
            command = [PROMETHEUS, *(f"--{name}={value}" for name, value in options.items())]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        waiting.until(lambda: requests.answers(self.port, "/-/ready"), 30, self.log)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)

    def log(self):
        return (self.folder / "log").read_text()[-3000:]

    def get(self, path):
        """What the API says there; an error is one."""
        answer = requests.send("GET", self.port, f"/api/v1/{path}", timeout=30)
        said = json.loads(answer.body)
        assert said["status"] == "success", (path, said)
        return said["data"]

    def ask(self, query):
        """The series that a query finds now, with their labels."""
        found = self.get(f"query?query={quote(query)}")
        return [found["result"]] if found["resultType"] == "scalar" else found["result"]

    def numbers(self, query):
        return [float(found["value"][1]) for found in self.ask(query)]
