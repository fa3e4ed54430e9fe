"""What the images are made of, and that anybody makes the same: labels, programs byte for byte, list of parts, profiles."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from support import kubernetes
from support.compose import IMAGES, docker
from support.kubernetes import TOOLS, features
from support.paths import CI, HUB, PROJECT, SPOKE, cargo, target
from test_containers import images  # noqa: F401 (a fixture)

VERSION = tomllib.loads((PROJECT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
LABEL = "org.opencontainers.image."
DOCKERFILES = [PROJECT / "Dockerfile.hub", PROJECT / "Dockerfile.spoke"]
APPARMOR = PROJECT / "deploy/apparmor/pattoo"


def labels_of(image):
    found = json.loads(docker("inspect", image).stdout)[0]["Config"]["Labels"]
    return {name.removeprefix(LABEL): value for name, value in found.items() if name.startswith(LABEL)}


@pytest.mark.parametrize("image", IMAGES)
def test_image_is_labelled(images, image):  # noqa: F811
    labels = labels_of(images[image])
    assert labels["version"] == VERSION and labels["licenses"] == "Apache-2.0"
    assert labels["title"] == {"hub": HUB, "spoke": SPOKE}[image] and labels["description"]
    assert labels["source"].startswith("https://") and labels["url"].startswith("https://")
    # When and of which commit is told where that is known, and a time would make each build another.
    assert not {"created", "revision"} & set(labels)


def test_images_for_a_registry_tell_their_commit(images, tmp_path):  # noqa: F811
    """deploy/images, which finds everything built."""
    prefix = f"checks-{os.getpid()}"

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=60)

    try:
        done = subprocess.run(["bash", PROJECT / "deploy/images", prefix], capture_output=True, text=True, timeout=1200)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        for image in IMAGES:
            labels = labels_of(f"{prefix}/{image}:{VERSION}")
            revision = git("rev-parse", "HEAD").stdout.strip()
            clean = git("diff", "--quiet", "HEAD").returncode == 0
            assert labels["revision"] == (revision if clean else f"{revision}-dirty")
            # The commit's time, not the build's: the same commit gives the same labels.
            assert labels["created"] == git("log", "-1", "--format=%cI").stdout.strip()
            assert labels | labels_of(images[image]) == labels
    finally:
        docker("rmi", *(f"{prefix}/{image}:{VERSION}" for image in IMAGES), check=False)


def built_elsewhere(folder):
    """Both programs, built from a copy of the sources in another folder; the dependencies are those of the other checks."""
    sources = folder / "sources"
    sources.mkdir(parents=True)
    for name in ("Cargo.toml", "Cargo.lock", ".cargo", "services"):
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, sources / name)
        elif (PROJECT / name).exists():
            shutil.copy2(PROJECT / name, sources / name)
    for name in ("deps", "build", ".fingerprint"):
        shutil.copytree(target() / "debug" / name, folder / "target/debug" / name, copy_function=os.link)
    done = subprocess.run(
        ["cargo", "build", "--bins", "--locked", "--package", "spoke", "--package", "hub"],
        cwd=sources,
        # As the images are: without what is for a debugger, which has the folder in it.
        env=os.environ | {"CARGO_TARGET_DIR": str(folder / "target"), "CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_DEV_STRIP": "symbols", "CARGO_INCREMENTAL": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    compiled = set(re.findall(r"Compiling (\w+) v\S+ \((.*?)\)", done.stderr))
    assert {(name, str(sources / "services" / name)) for name in ("agent", "spool", "spoke", "hub")} <= compiled, done.stderr
    return {name: (folder / "target/debug" / name).read_bytes() for name in (SPOKE, HUB)}


def test_programs_built_in_two_folders_are_the_same_byte_for_byte(binaries, tmp_path):
    # In this target folder, next to the dependencies, a link costs nothing.
    place = target() / f"elsewhere-{os.getpid()}"
    try:
        one, other = (built_elsewhere(place / folder) for folder in ("one", "another/and/deeper"))
        for name in (SPOKE, HUB):
            assert len(one[name]) > 1 << 20
            assert one[name] == other[name], f"{name}: see .ci/reproducible"
            assert str(place).encode() not in one[name]
    finally:
        shutil.rmtree(place, ignore_errors=True)


def test_dockerfiles_are_clean():
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--failure-threshold=style", *DOCKERFILES], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    # The judge does refuse.
    bad = subprocess.run([hadolint, "-"], input="FROM debian\nRUN cd / && apt-get install curl\n", capture_output=True, text=True, timeout=60)
    assert bad.returncode == 1 and "DL3006" in bad.stdout, bad


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """The lists of parts as they are made anew: program to text."""
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run(["bash", CI / "sbom", folder], check=True, timeout=120)
    return {name: (folder / f"{name}.cdx.json").read_text() for name in (SPOKE, HUB)}


def faults_of(told):
    """By CycloneDX' own schema: of all parts but their web addresses, of which each costs a quarter of a second, and one whole."""
    validator = JsonStrictValidator(SchemaVersion.V1_5)
    bare = [{name: value for name, value in part.items() if name != "externalReferences"} for part in told["components"]]
    return [str(fault) for parts in (bare, told["components"][:1]) if (fault := validator.validate_str(json.dumps(told | {"components": parts})))]


@pytest.mark.parametrize("program, package", [(SPOKE, "spoke"), (HUB, "hub")], ids=["spoke", "hub"])
def test_the_list_of_parts_is_current_valid_and_whole(parts, program, package):
    kept = (PROJECT / "deploy/sbom" / f"{program}.cdx.json").read_text()
    assert kept == parts[program], f"{program} has other parts by now: run .ci/sbom"
    told = json.loads(kept)
    assert faults_of(told) == []
    assert faults_of(told | {"components": [told["components"][0] | {"type": "librarie"}]}) != [], "the judge does refuse"
    references = [part["bom-ref"] for part in told["components"]]
    assert len(set(references)) == len(references)
    found = {(part["name"], part["version"]) for part in told["components"]}
    # As cargo itself resolves what is linked in.
    tree = cargo("tree", "--locked", "--package", package, "--edges=normal", "--prefix=none", "--target=x86_64-unknown-linux-gnu", "--format={p}", check=True)
    linked = {tuple(re.match(r"(\S+) v(\S+)", line).groups()) for line in tree.stdout.splitlines() if line} - {(package, VERSION)}
    locked = {(one["name"], one["version"]) for one in tomllib.loads((PROJECT / "Cargo.lock").read_text())["package"]}
    # The list has what any of a dependency's features in this workspace would bring.
    assert linked <= found <= locked and len(found - linked) < 10, (linked - found, found - linked)
    for part in told["components"]:
        ours = part["bom-ref"].startswith("path+")
        assert part["licenses"] and (ours or re.fullmatch(r"[0-9a-f]{64}", part["hashes"][0]["content"])), part
    assert told["metadata"]["component"]["name"] == program and "timestamp" not in kept


def parser(text):
    """Debian's apparmor_parser, as far as it goes without the kernel."""
    rules = TOOLS.parent / "apparmor"
    command = [TOOLS / "apparmor_parser", "--skip-kernel-load", "--skip-cache", "--config-file", os.devnull, "--base", rules]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)


def test_the_apparmor_profile_is_one_and_allows_what_is_mounted():
    text = APPARMOR.read_text()
    assert parser(text).returncode == 0, parser(text).stderr
    assert parser(text.replace("network inet stream", "network inet streem")).returncode != 0
    rules = [line.strip() for line in text.splitlines() if line.strip().endswith(",") and not line.strip().startswith("#")]
    assert [rule for rule in rules if rule.startswith("capability")] == [] and "file," not in rules and "network," not in rules
    writable = {rule.split("{")[0].split(" ")[0] for rule in rules if re.search(r" [rmkxil]*w[rmkxil]*,$", rule) and not rule.startswith("deny")}
    assert writable == {"/var/lib/pattoo/", "/run/pattoo/", "/dev/null"}
    # Whatever the chart mounts into a pod may be read there.
    for name, rendering in features().items():
        for pod in rendering.pods().values():
            for mount in pod["spec"]["containers"][0]["volumeMounts"]:
                path = mount["mountPath"]
                known = any(rule.startswith(f"{path}/") for rule in rules) or path in ("/etc/machine-id", "/extra") or path.startswith(("/etc/pattoo-secrets/", "/var/lib/pattoo/"))
                assert known, (name, path)
