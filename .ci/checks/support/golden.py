"""Golden answers: what the spoke says of each made-up host, without what differs from run to run."""

import hashlib
import json

from support.paths import CI

FOLDER = CI / "checks" / "golden"


def text_of(post):
    """A post as text to be compared and read: stamps left out, what statvfs says replaced."""
    metadata = dict(post.points[0].metadata)
    rows = {}
    for point in post.points:
        value = None if point.kind == "partition" else point.value
        rows.setdefault((point.kind, point.instance), {})[point.key] = value
        metadata |= {name: value for name, value in point.metadata if name in metadata}
    sums = "".join(point.checksum for point in post.points)
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in metadata.items()]
    lines.append(f' "sha256 of all checksums": {json.dumps(hashlib.sha256(sums.encode()).hexdigest())}')
    points = [f"  {json.dumps([kind, *instance])[:-1]}, {json.dumps(values)}]" for (kind, instance), values in rows.items()]
    return "{\n" + ",\n".join(lines) + ',\n "points": [\n' + ",\n".join(points) + "\n ]\n}\n"


def path(name):
    return FOLDER / f"{name}.json"


def write(name, post):
    FOLDER.mkdir(exist_ok=True)
    path(name).write_text(text_of(post))
