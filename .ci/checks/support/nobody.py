"""A user that owns nothing: root may read and write everything, so what is forbidden is tried as this one."""

import contextlib
import shutil
import tempfile
from pathlib import Path

USER = "64999"
PREFIX = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--bounding-set=-all"]


@contextlib.contextmanager
def folder():
    """A new folder that every user may pass; pytest's own folders are closed to all but its user."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)
