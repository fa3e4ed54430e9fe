"""Runs the programs as plain processes, each in a folder of its own."""

import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path

from support import metrics, requests, waiting
from support.paths import HUB, SPOKE

LISTENING = re.compile(r"listening.*address=\"?(?P<host>\[[0-9a-fA-F:.]+\]|[0-9.]+):(?P<port>\d+)")
START = 20
AGENT_API = "/pattoo/api/v1/agent"


class Folder:
    """One PATTOO_CONFIGDIR and the four directories that it names."""

    def __init__(self, path):
        self.path = Path(path)
        for name in ("config", "daemon", "cache", "run", "log"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def write(self, name, **sections):
        # JSON is YAML.
        (self.path / "config" / f"{name}.yaml").write_text(json.dumps(sections, indent=2))

    def directories(self):
        return {
            "log_level": "debug",
            "log_directory": str(self.path / "log"),
            "cache_directory": str(self.path / "cache"),
            "daemon_directory": str(self.path / "daemon"),
            "system_daemon_directory": str(self.path / "run"),
        }

    def environment(self, **extra):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PATTOO", "HOST_", "RUST_LOG"))}
        return clean | {"PATTOO_CONFIGDIR": str(self.path / "config"), "NO_COLOR": "1"} | extra


class Program:
    """A program in the foreground: its log as it comes, its address, its end."""

    def __init__(self, binary, folder, environment=None, arguments=("--start", "--foreground")):
        self.binary, self.folder = binary, folder
        self.environment = folder.environment(**(environment or {}))
        self.arguments = list(arguments)
        self.lines = []
        self.port = None
        # That of TLS, for a program that speaks it.
        self.context = None
        self.start()

    def start(self):
        """Starts it, on the port it had before where it had one, and waits until it listens."""
        self.lines = []
        self.process = subprocess.Popen(
            [str(self.binary), *self.arguments],
            env=self.environment,
            cwd=self.folder.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout, self.lines), daemon=True)
        self.reader.start()
        self.port = waiting.until(self._address, START, lambda: f"{self.binary} listens:\n{self.log()}")
        return self

    @staticmethod
    def _read(stream, lines):
        for line in stream:
            lines.append(line.rstrip("\n"))

    def _address(self):
        for line in list(self.lines):
            found = LISTENING.search(line)
            if found:
                self.host = found["host"].strip("[]")
                return int(found["port"])
        assert self.process.poll() is None, f"{self.binary} ended with {self.process.returncode}:\n{self.log()}"
        return None

    def log(self):
        return "\n".join(self.lines[-60:])

    def get(self, path, **options):
        return requests.send("GET", self.port, path, **{"context": self.context} | options)

    def metrics(self):
        return metrics.read(self.get("/metrics").body)

    def send_signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=10):
        """The exit status."""
        status = self.process.wait(seconds)
        self.reader.join(seconds)
        return status

    def stop(self, seconds=10):
        self.send_signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        self.process.kill()
        return self.wait()


class Rig:
    """Starts programs below one folder, and ends all of them when it is left."""

    def __init__(self, binaries, path):
        self.binaries, self.path, self.programs = binaries, Path(path), []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs:
            if program.process.poll() is None:
                program.send_signal(signal.SIGCONT)
                program.kill()

    def folder(self, name):
        return Folder(self.path / name)

    def spoke(self, name="spoke", environment=None, **settings):
        folder = self.folder(name)
        section = {"ip_listen_address": "127.0.0.1", "ip_bind_port": 0, "hostname": f"{name}.example.com"}
        folder.write("pattoo", pattoo=folder.directories())
        folder.write(SPOKE, **{SPOKE: section | settings})
        return self._started(SPOKE, folder, environment)

    def hub(self, name="hub", devices=(), api=None, environment=None, **settings):
        folder = self.folder(name)
        section = {
            "ip_devices": [{"ip_address": "127.0.0.1", "ip_bind_port": port} for port in devices],
            "polling_interval": 1,
            "ip_bind_port": 0,
        }
        folder.write("pattoo", pattoo=folder.directories(), pattoo_agent_api=api or {"enabled": False})
        folder.write(HUB, **{HUB: section | settings})
        return self._started(HUB, folder, environment)

    def server(self, name="server", port=0):
        """The stand-in for a pattoo server: a hub that receives and keeps."""
        return self.hub(name, receive=True, ip_bind_port=port)

    def _started(self, program, folder, environment):
        started = Program(self.binaries[program], folder, environment)
        self.programs.append(started)
        return started


def api(port):
    """The section that sends a hub's posts to `port` of this host."""
    return {"ip_address": "127.0.0.1", "ip_bind_port": port, "enabled": True}
