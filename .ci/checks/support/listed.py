"""The list of checks, .ci/checks.txt: one name a line, `#` starts a comment."""

from support.paths import CI


def names():
    lines = (CI / "checks.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def rust_names():
    return [name for name in names() if name.startswith("rust:") and not name.startswith("rust::")]
