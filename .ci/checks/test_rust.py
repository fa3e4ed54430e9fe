"""The Rust tests: one run of all, and those that matter as checks of their own (`rust:` in checks.txt)."""

import json
import re
import subprocess
from dataclasses import dataclass, field

import pytest

from support.paths import PROJECT, cargo

RUNNING = re.compile(r"^\s+Running .*\((?P<path>[^)]+)\)$")
DOCTESTS = re.compile(r"^\s+Doc-tests (?P<crate>\S+)$")
RESULT = re.compile(r"^test (?P<name>.+?)(?: - should panic)? \.\.\. (?P<result>ok|FAILED|ignored)\b")


@dataclass
class Run:
    """What one `cargo test` said."""

    status: int
    output: str
    results: dict = field(default_factory=dict)

    def about(self, name):
        """What was printed of a test that failed."""
        path = name.rsplit("::", 1)[-1]
        found = re.search(rf"^---- \S*{re.escape(path)} stdout ----$.*?^(?=---- |failures:)", self.output, re.M | re.S)
        return found[0][-4000:] if found else self.output[-2000:]


def binaries_of_tests():
    """{path of a test binary: "crate::binary"}, the library's own being "crate::lib"."""
    built = subprocess.run(
        ["cargo", "test", "--workspace", "--locked", "--no-run", "--message-format", "json"],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-8000:]
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message["executable"] and message["profile"]["test"]:
            # path+file:///project/services/hub#0.1.0, or ...#name@0.1.0
            folder, _, rest = message["package_id"].partition("#")
            crate = rest.partition("@")[0] if "@" in rest else folder.rsplit("/", 1)[-1]
            target = message["target"]
            found[message["executable"]] = f"{crate}::{'lib' if 'lib' in target['kind'] else target['name']}"
    return found


def results(output, binaries):
    """{"rust:crate::binary::test": result} from what `cargo test` printed."""
    found, prefix = {}, None
    for line in output.splitlines():
        if match := RUNNING.match(line):
            prefix = binaries[str((PROJECT / match["path"]).resolve())]
        elif match := DOCTESTS.match(line):
            prefix = f"{match['crate']}::doc"
        elif (match := RESULT.match(line)) and prefix:
            found[f"rust:{prefix}::{match['name']}"] = match["result"]
    return found


@pytest.fixture(scope="session")
def run():
    binaries = {str(path): name for path, name in binaries_of_tests().items()}
    done = cargo("test", "--workspace", "--locked", "--no-fail-fast", timeout=1500)
    return Run(done.returncode, done.stdout, results(done.stdout, binaries))


def test_every_rust_test_passes(run):
    bad = {name: result for name, result in run.results.items() if result != "ok"}
    print("\n".join(f"{result} {name}" for name, result in sorted(run.results.items())))
    assert not bad, f"{bad}\n" + "\n".join(run.about(name) for name in bad)
    assert run.status == 0, run.output[-4000:]
    assert run.results, run.output[-4000:]


def test_rust_test(run, rust_name):
    result = run.results.get(rust_name)
    assert result is not None, f"cargo test has no {rust_name}"
    assert result == "ok", run.about(rust_name)
