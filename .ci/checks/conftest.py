"""The frame: names of checks, their comparison with checks.txt, the closing line."""

import os
from pathlib import Path

import pytest

from support import listed, paths

ORDER = "frame judge source rust post psutil http commands faults containers readme".split()


def check_name(item):
    """The name of a check as checks.txt writes it: `post::test_name` without `test_`, or `rust:...`."""
    callspec = getattr(item, "callspec", None)
    if callspec and "rust_name" in callspec.params:
        return callspec.params["rust_name"]
    module = Path(str(item.path)).stem.removeprefix("test_")
    return f"{module}::{item.name.removeprefix('test_')}"


def place(module):
    """When a module's checks run; one that ORDER does not name runs before the containers."""
    return ORDER.index(module if module in ORDER else "containers") - (module not in ORDER) / 2


class Account:
    """Which checks were selected, and how each ended."""

    def __init__(self):
        # Read once, at the start: the run is compared with the list that it was begun with.
        self.names = listed.names()
        self.selected = []
        self.outcomes = {}
        self.elsewhere = []

    def note(self, name, outcome):
        # One check reports its set-up, its call and its tear-down; the worst of the three counts.
        worst = {"passed": 0, "skipped": 1, "failed": 2}
        before = self.outcomes.get(name)
        if before is None or worst[outcome] > worst[before]:
            self.outcomes[name] = outcome

    def faults_of_the_list(self, complete):
        """What the comparison with checks.txt finds, one sentence each."""
        names = self.names
        wanted = names if complete else self.selected
        missing = [name for name in wanted if name not in self.outcomes]
        unlisted = [name for name in self.outcomes if name not in names]
        twice = sorted({name for name in names if names.count(name) > 1})
        return (
            [f"in .ci/checks.txt, but did not run: {name}" for name in missing]
            + [f"ran, but is not in .ci/checks.txt: {name}" for name in unlisted]
            + [f"twice in .ci/checks.txt: {name}" for name in twice]
        )


account = Account()


def pytest_addoption(parser):
    parser.addoption("--write-golden", action="store_true", help="write the golden answers anew instead of comparing")


def pytest_configure(config):
    config.pluginmanager.register(Reporter(), "account")


class Reporter:
    """Hooks that keep the account."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        account.selected = [check_name(item) for item in items]
        # What is quick comes first.
        items.sort(key=lambda item: place(check_name(item).partition(":")[0]))
        for item in items:
            item.user_properties.append(("check", check_name(item)))

    def pytest_collectreport(self, report):
        if report.failed:
            account.elsewhere.append(f"cannot be collected: {report.nodeid}")

    def pytest_runtest_logreport(self, report):
        name = dict(report.user_properties)["check"]
        if report.when == "call" or report.outcome != "passed":
            account.note(name, report.outcome)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session):
        if session.config.option.collectonly:
            return
        self.faults = account.elsewhere + account.faults_of_the_list("CHECKS_COMPLETE" in os.environ)
        outcomes = list(account.outcomes.values())
        if self.faults or "failed" in outcomes or "skipped" in outcomes or not outcomes:
            session.exitstatus = session.exitstatus or 1

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config):
        if config.option.collectonly:
            return
        outcomes = list(account.outcomes.values())
        faults = getattr(self, "faults", ["the run ended early"])
        for fault in faults:
            print(f"FAILED {fault}")
        print(
            f"checks: {outcomes.count('passed')} passed, "
            f"{outcomes.count('failed') + len(faults)} failed, {outcomes.count('skipped')} skipped"
        )


def pytest_generate_tests(metafunc):
    if "rust_name" in metafunc.fixturenames:
        metafunc.parametrize("rust_name", listed.rust_names())


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    """A variable of the caller's must not configure a program under test."""
    for name in list(os.environ):
        if name.startswith(("PATTOO", "HOST_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def binaries():
    """The two programs, built once: the paths by name."""
    return paths.build()


@pytest.fixture
def rig(binaries, tmp_path):
    """Starts programs in folders of their own, and ends all of them afterwards."""
    from support.programs import Rig

    with Rig(binaries, tmp_path) as rig:
        yield rig
