"""Agents of the original, in PattooShared's own machinery: control, daemon, configuration, identity."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

# The web server and the encryption that PattooShared loads are not used here: they are stood in for.
STAND_INS = """
import sys, types

for name in ("gunicorn", "gunicorn.app", "gunicorn.app.base", "gnupg"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["gunicorn.app.base"].BaseApplication = object
"""

AGENT = STAND_INS + """
import time

from pattoo_shared import files, log
from pattoo_shared.agent import Agent, AgentCLI


class Polling(Agent):
    def query(self):
        log.log2debug(9000, f"{self.parent} polls as {files.get_agent_id(self.parent, self.config)}")
        time.sleep(0.05)


AgentCLI().control(Polling(NAME))
"""


class Original:
    """An agent of that name over the same folder as ours."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.script = Path(folder.path) / f"{name}.py"
        self.script.write_text(AGENT.replace("NAME", repr(name)))

    def command(self, option):
        return run(self.folder, str(self.script), option)

    def end(self):
        """Kills it where it still runs; its pid file may name another by now."""
        pid = self.files[0].read_text().strip() if self.files[0].exists() else "none"
        line = Path("/proc") / pid / "cmdline"
        if line.exists() and os.fsencode(self.script) in line.read_bytes():
            os.kill(int(pid), signal.SIGKILL)

    @property
    def files(self):
        """What belongs to it: pid and identity."""
        return [
            self.folder.path / "run/pid" / f"{self.name}.pid",
            self.folder.path / "daemon/agent_id" / f"{self.name}.agent_id",
        ]


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        env=folder.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def say(folder, expression):
    """What PattooShared says: `config` is its configuration, `files` its module."""
    code = f"from pattoo_shared import files\nfrom pattoo_shared.configuration import Config\nconfig = Config()\nprint({expression}, end='')"
    done = run(folder, "-c", code)
    assert done.returncode == 0, done
    return done.stdout


# Each post in a file of its own, in the original's way; its clock is told, so that no name comes twice.
CACHE = STAND_INS + """
import json
from pattoo_shared import files, phttp
from pattoo_shared.configuration import Config

identifier = files.get_agent_id(sys.argv[1], Config())
for line in sys.stdin:
    stamp, data = json.loads(line)
    phttp.time = lambda: stamp / 1000
    assert phttp._save_data(data, identifier)
print(identifier, end="")
"""


def cache(folder, program, posts):
    """Writes the backlog of an original hub: `posts` are (milliseconds, post). Returns the hub's agent_id."""
    lines = "".join(f"{json.dumps(post)}\n" for post in posts)
    done = subprocess.run(
        [sys.executable, "-c", CACHE, program],
        env=folder.environment(),
        input=lines,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


# One line of JSON in: what to make and what to call on it. One line out: what each call returned.
PHTTP = STAND_INS + """
import json
from pattoo_shared import phttp
from pattoo_shared.configuration import Config
from pattoo_shared.constants import DATA_FLOAT, DATA_INT
from pattoo_shared.variables import AgentPolledData, DataPoint, TargetDataPoints


def polled(program, interval, target, points):
    data, of_target = AgentPolledData(program, interval), TargetDataPoints(target)
    of_target.add([DataPoint(key, value, DATA_FLOAT if isinstance(value, float) else DATA_INT) for key, value in points])
    data.add(of_target)
    return data


name, arguments, calls = json.loads(sys.stdin.readline())
if name == "PostAgent":
    arguments = [polled(*arguments)]
made = getattr(phttp, name)(*arguments)
print(json.dumps([made._identifier, [getattr(made, call)() for call in calls]]), end="")
"""


def phttp(folder, name, arguments, *calls):
    """Makes `pattoo_shared.phttp.<name>` in that folder and calls it. Returns its identifier and what each call returned.

    For `PostAgent` the arguments are program, interval in seconds, target and [(key, value)].
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PHTTP],
        # Whatever proxy this machine has is not meant.
        env=folder.environment(NO_PROXY="*", no_proxy="*"),
        input=json.dumps([name, arguments, calls]) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
