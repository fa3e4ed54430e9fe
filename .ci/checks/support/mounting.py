"""Real file systems and mount namespaces; whatever happens, nothing of them stays."""

import contextlib
import os
import subprocess
from pathlib import Path

from support.paths import SPOKE
from support.programs import Program

IMAGE_BYTES = 128 << 20


def run(*command):
    done = subprocess.run([*PREFIX, *map(str, command)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


# What is run, is run by this: nothing, where the checks are on the machine that they mean.
PREFIX = []


@contextlib.contextmanager
def through(prefix):
    """Lets a command that changes the namespaces run all others."""
    PREFIX[:] = prefix
    try:
        yield
    finally:
        PREFIX.clear()


def status(*command):
    return subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60).returncode


@contextlib.contextmanager
def mounted(folder, *arguments):
    """Mounts something there for a while."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    run("mount", *arguments, folder)
    try:
        yield Path(folder)
    finally:
        run("umount", "--lazy", "--recursive", folder)


@contextlib.contextmanager
def memory(folder, size="32m"):
    """A file system in memory to which nobody else writes, so that what statvfs says of it stands still."""
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}", "made-up-host") as made:
        yield made


@contextlib.contextmanager
def btrfs(folder, *subvolumes):
    """A loop device with a btrfs that has these subvolumes."""
    image = Path(folder) / "btrfs.image"
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    run("mkfs.btrfs", "--quiet", image)
    device = run("losetup", "--find", "--show", image)
    try:
        with mounted(Path(folder) / "whole", "-t", "btrfs", device) as whole:
            for name in subvolumes:
                run("btrfs", "subvolume", "create", whole / name)
            (whole / "data").write_bytes(os.urandom(1 << 20))
        yield device
    finally:
        # A device still in use goes as soon as the last mount does.
        subprocess.run(["losetup", "--detach", device], timeout=30)
        image.unlink()


def in_namespace(rig, folder, script, *words, environment=None, propagation="slave"):
    """A spoke in a mount namespace of its own, in which the shell ran `script` before; `words` are its $1, $2 and so on.

    The script may set AS, a command that starts the spoke with less than root's rights.
    """
    script += '\nexec ${AS-} "$SPOKE" --start --foreground'
    command = ["--mount", "--propagation", propagation, "sh", "-ec", script, "sh", *map(str, words)]
    started = Program("unshare", folder, (environment or {}) | {"SPOKE": str(rig.binaries[SPOKE])}, command)
    rig.programs.append(started)
    return started
