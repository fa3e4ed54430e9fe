"""Programs that are measured: started, asked, and looked at from outside."""

import contextlib
import http.client
import re
import signal
import subprocess
import time
from pathlib import Path

from support import passing

START_LIMIT_S = 30
CPU_CLOCK_OF_PROCESS = 2


def tree(pid):
    """The process and its children, and theirs."""
    found = [pid]
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += tree(int(child))
    return found


def cpu_ns(pid):
    """CPU time of a process: the sum of its threads' schedstat. The threads that have ended are in it too, which schedstat
    forgets, so it is read from the clock of the process, which the scheduler moves with the same numbers."""
    return time.clock_gettime_ns((~pid << 3) | CPU_CLOCK_OF_PROCESS)


class Program:
    """A program that listens on a port, and what it costs."""

    def __init__(self, command, port, path, environment=None, folder="/"):
        self.command, self.port, self.path = [str(part) for part in command], port, path
        self.environment, self.folder = environment or {}, folder
        self.process = None

    def start(self):
        """Starts it; the seconds until it had answered for the first time."""
        began = time.perf_counter()
        self.process = subprocess.Popen(
            self.command,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"} | self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self.ask()
                return time.perf_counter() - began
            if self.process.poll() is not None:
                raise RuntimeError(f"ended with status {self.process.returncode}: {' '.join(self.command)}")
            if time.perf_counter() - began > START_LIMIT_S:
                raise RuntimeError(f"does not answer: {' '.join(self.command)}")
            # Short beside what is measured, and leaves a core to who starts.
            time.sleep(0.0002)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def ask(self):
        """One answer over a connection of its own; its length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_LIMIT_S)
        try:
            return self._answer(connection)
        finally:
            connection.close()

    def ask_often(self, times):
        """So many answers over one connection, or one each where the program keeps none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_LIMIT_S)
        try:
            return [self._answer(connection) for _ in range(times)]
        finally:
            connection.close()

    def _answer(self, connection):
        connection.request("GET", self.path)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"status {answer.status}: {body[:200]!r}")
        return len(body)

    def pids(self):
        return tree(self.process.pid)

    def cpu_ns(self):
        return sum(cpu_ns(pid) for pid in self.pids())

    def memory_kb(self):
        """RSS and PSS of all its processes."""
        found = {"Rss": 0, "Pss": 0}
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                if name in found:
                    found[name] += int(rest.split()[0])
        return found["Rss"], found["Pss"]

    def high_water_kb(self):
        return sum(int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) for pid in self.pids())

    def system_calls(self, answers):
        """How many system calls of which name that many answers over a kept connection take."""
        attach = [part for pid in self.pids() for part in ("-p", str(pid))]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_LIMIT_S)
        try:
            # What only the first answer over a connection does is not what one more costs.
            for _ in range(10):
                self._answer(connection)
            tracer = subprocess.Popen(
                ["strace", "-f", "-c", "-qq", "-o", "/dev/stdout", *attach],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            while not all(self._traced(pid) for pid in self.pids()):
                if tracer.poll() is not None:
                    raise RuntimeError("strace ended: may processes be traced here?")
                time.sleep(0.01)
            for _ in range(answers):
                self._answer(connection)
            tracer.send_signal(signal.SIGINT)
            table, _ = tracer.communicate()
        finally:
            connection.close()
        rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", table, re.MULTILINE)
        return {name: int(calls) for calls, name in rows if name != "total"}

    @staticmethod
    def _traced(pid):
        return all("TracerPid:\t0" not in said for said in passing.of_threads(pid, "status"))
