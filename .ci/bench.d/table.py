"""What a run found: measures, ratios of paired rounds, bounds; as Markdown and as JSON."""

import json
import statistics
from dataclasses import dataclass, field


def middle(values):
    """The median of the rounds and how far they spread: the least and the most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values), "rounds": len(values)}


@dataclass
class Bound:
    """One thing that must hold, and whether it does."""

    what: str
    value: float
    most: float
    unit: str = ""
    spread: dict = field(default_factory=dict)

    @property
    def met(self):
        return self.value <= self.most


@dataclass
class Table:
    """One table: a row a subject, a column a measure."""

    title: str
    columns: list
    rows: list = field(default_factory=list)
    note: str = ""


@dataclass
class Report:
    machine: dict
    command: str
    tables: list = field(default_factory=list)
    bounds: list = field(default_factory=list)

    def ratio(self, what, ours, theirs, most):
        """The bound on a ratio of what was measured side by side, round by round."""
        spread = middle([one / other for one, other in zip(ours, theirs)])
        self.bounds.append(Bound(what, spread["median"], most, "x", spread))

    def at_most(self, what, value, most, unit):
        self.bounds.append(Bound(what, value, most, unit))

    def json(self):
        return json.dumps(
            {
                "machine": self.machine,
                "command": self.command,
                "tables": [vars(table) for table in self.tables],
                "bounds": [vars(bound) | {"met": bound.met} for bound in self.bounds],
            },
            indent=1,
        )

    def markdown(self):
        lines = [f"Taken by `{self.command}` on:", ""]
        lines += [f"- {name}: {value}" for name, value in self.machine.items()]
        for table in self.tables:
            lines += ["", f"### {table.title}", ""]
            if table.note:
                lines += [table.note, ""]
            lines += _rows(["", *table.columns], [[shown(cell) for cell in row] for row in table.rows])
        if self.bounds:
            lines += ["", "### Bounds", ""]
            rows = []
            for bound in self.bounds:
                spread = f"{shown(bound.spread['least'])} to {shown(bound.spread['most'])}" if bound.spread else ""
                met = "met" if bound.met else "**not met**"
                rows.append([bound.what, f"{shown(bound.value)} {bound.unit}", spread, f"{shown(bound.most)} {bound.unit}", met])
            lines += _rows(["what", "found", "rounds", "at most", ""], rows)
        return "\n".join(lines) + "\n"


def _rows(heads, rows):
    return [f"| {' | '.join(row)} |" for row in [heads, ["---"] * len(heads), *rows]]


def shown(cell):
    """A number with three digits that mean something; a median with its spread behind it."""
    if isinstance(cell, dict):
        return f"{shown(cell['median'])} ({shown(cell['least'])} to {shown(cell['most'])})"
    if isinstance(cell, float):
        return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return "" if cell is None else str(cell)
