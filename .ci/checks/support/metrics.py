"""The text form of Prometheus metrics."""

import re

LINE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


class Metrics(dict):
    """{(name, sorted labels): value}"""

    def sum(self, name, **labels):
        """The sum over all that carry these labels; none at all is 0."""
        wanted = set(labels.items())
        return sum(value for (found, have), value in self.items() if found == name and wanted <= set(have))

    def names(self):
        return {name for name, _ in self}


def read(body):
    found = Metrics()
    for line in body.decode().splitlines():
        if line and not line.startswith("#"):
            matched = LINE.match(line)
            assert matched, f"no metric: {line!r}"
            name, labels, value = matched.groups()
            found[name, tuple(sorted(LABEL.findall(labels or "")))] = float(value)
    return found
