"""Files that a running program makes and removes meanwhile, and the files of its threads."""

import contextlib
import os
from pathlib import Path


def below(folder):
    """{path: lstat} of all below a folder; what is gone when its turn comes is left out."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.lstat()
    return found


def of_threads(pid, name):
    """What this file says of each thread, `comm` for one; of a thread that has ended meanwhile nothing."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append((task / name).read_text().strip())
    return found
