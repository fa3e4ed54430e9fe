"""The sources: format, lints, licences, links, scripts."""

import json
import re
import subprocess

import pytest

from support.paths import PROJECT, cargo


def tracked(*patterns):
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [PROJECT / name for name in listed.stdout.splitlines() if (PROJECT / name).exists()]


def test_format():
    done = cargo("fmt", "--all", "--check")
    assert done.returncode == 0, done.stdout[-4000:]


def test_lints():
    done = cargo("clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings")
    assert done.returncode == 0, done.stdout[-8000:]


@pytest.mark.parametrize("what", ["bans", "licenses", "sources"])
def test_dependencies(what):
    done = cargo("deny", "--config", ".deny.toml", "--all-features", "check", what)
    assert done.returncode == 0, done.stdout[-8000:]


def test_links_of_the_documents_lead_somewhere():
    documents = tracked("*.md")
    assert PROJECT / "README.md" in documents
    broken = []
    for document in documents:
        text = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            path, _, _ = link.partition("#")
            if path and not re.match(r"[a-z]+:", path) and not (document.parent / path).exists():
                broken.append(f"{document.relative_to(PROJECT)}: {link}")
    assert not broken, broken


def test_readme_names_files_that_exist():
    """A path in the README's code, `deploy/up` or `.ci/check`, is a file of the project."""
    named = set(re.findall(r"(?<![\w./-])((?:\.ci|deploy|docs|services|helm)/[\w./-]*\w)", (PROJECT / "README.md").read_text()))
    assert {"deploy/up", ".ci/check"} <= named
    assert not [name for name in sorted(named) if not (PROJECT / name).exists()]


def scripts():
    def is_shell(path):
        with path.open("rb") as file:
            return path.suffix == ".sh" or re.match(rb"#!.*\b(ba|da)?sh\b", file.readline()) is not None

    found = [path for path in tracked() if path.is_file() and is_shell(path)]
    assert {PROJECT / ".ci/check", PROJECT / ".ci/run", PROJECT / "deploy/up"} <= set(found)
    return found


def test_scripts_can_be_parsed():
    faults = {}
    for script in scripts():
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True)
        if done.returncode != 0 or done.stderr:
            faults[str(script)] = done.stderr
    assert not faults, faults


def test_scripts_pass_shellcheck():
    done = subprocess.run(["shellcheck", "--external-sources", *scripts()], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr


def packages():
    """The workspace's crates, as cargo reads their manifests."""
    done = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)["packages"]


def test_every_dependency_has_its_reason():
    """docs/dependencies.md has each direct dependency once, with the crates that use it and for what, and no other."""
    used = {}
    for package in packages():
        for dependency in package["dependencies"]:
            if not dependency.get("path"):
                kinds = used.setdefault(dependency["name"], {})
                kinds.setdefault({None: "", "dev": "tests: ", "build": "build: "}[dependency["kind"]], set()).add(package["name"])
    wanted = {name: "; ".join(kind + ", ".join(sorted(kinds[kind])) for kind in sorted(kinds)) for name, kinds in used.items()}
    rows = re.findall(
        r"^\| `([\w-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", (PROJECT / "docs/dependencies.md").read_text(), re.MULTILINE
    )
    assert len({name for name, *_ in rows}) == len(rows)
    assert {name: users for name, users, *_ in rows} == wanted


def test_one_way_of_the_arrows():
    """spoke and hub stand on agent, never on each other; agent, spool and history stand on nothing. Tests' own needs are aside."""
    ours = {}
    for package in packages():
        ours[package["name"]] = {d["name"] for d in package["dependencies"] if d["kind"] is None and d.get("path")}
    assert {"agent", "spoke", "hub"} <= ours.keys()
    assert ours["agent"] == ours["spool"] == ours["history"] == set()
    assert ours["spoke"] == {"agent"}
    assert ours["hub"] == {"agent", "history", "spool"}
