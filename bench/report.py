"""What a benchmark hands back, and how it is told: a table for people, JSON lines for programs.

A report carries what must stand beside every figure: versions, cores, seed, repeats. Its checks
compare a figure of this run with a target, or with a peer's figure of the same run, and never with
anything measured elsewhere.
"""

import dataclasses
import enum
import json
import statistics
from collections.abc import Mapping, Sequence

Row = dict[str, object]


class Effort(enum.StrEnum):
    """How long a benchmark may take."""

    FULL = "full"  # one by itself
    SUITE = "suite"  # all of them together in ten minutes
    SMOKE = "smoke"  # a test that it runs at all: its figures mean nothing


@dataclasses.dataclass(frozen=True)
class Check:
    """A target: what was wanted, what was found."""

    what: str
    found: float
    bound: float
    is_minimum: bool = True

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        return self.found >= self.bound if self.is_minimum else self.found <= self.bound

    def __str__(self) -> str:
        """Tell it in one line."""
        sign = ">=" if self.is_minimum else "<="
        verdict = "holds" if self.holds else "MISSED"
        return f"{verdict}: {self.what}: {_short(self.found)} (wanted {sign} {_short(self.bound)})"


@dataclasses.dataclass(kw_only=True)
class Report:
    """One benchmark's results; `columns` are keys of the rows with their titles."""

    name: str
    command: str
    conditions: str  # what was done, in a sentence or two
    columns: Sequence[tuple[str, str]]
    rows: list[Row]
    seed: int
    repeats: int
    versions: Mapping[str, str]
    repeated: str = "runs"  # what the repeats are of
    cores: int
    notes: list[str] = dataclasses.field(default_factory=list)  # such as peers that are missing
    checks: list[Check] = dataclasses.field(default_factory=list)

    @property
    def head(self) -> str:
        """What must be known to read the figures."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        return (
            f"`{self.command}`: {self.conditions} {self.cores} cores, seed {self.seed},"
            f" medians of {self.repeats} {self.repeated}; {versions}."
        )

    def markdown(self) -> str:
        """Return the head, the table, the notes and the checks."""
        lines = [self.head, ""]
        lines.append("| " + " | ".join(title for _, title in self.columns) + " |")
        lines.append("|" + " --- |" * len(self.columns))
        for row in self.rows:
            cells = (_short(row.get(key, "")) for key, _ in self.columns)
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", *(f"- {note}" for note in [*self.notes, *map(str, self.checks)])]
        return "\n".join(lines).rstrip()

    def json_lines(self) -> list[str]:
        """Return a line for the conditions, one per row, one per check."""
        conditions = {
            "benchmark": self.name, "command": self.command, "conditions": self.conditions,
            "cores": self.cores, "seed": self.seed, "repeats": self.repeats,
            "repeated": self.repeated,
            "versions": dict(self.versions), "notes": self.notes,
        }  # fmt: skip
        rows = [{"benchmark": self.name, **row} for row in self.rows]
        checks = [
            {"benchmark": self.name, "holds": check.holds, **dataclasses.asdict(check)}
            for check in self.checks
        ]
        return [json.dumps(line) for line in (conditions, *rows, *checks)]


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of every figure over runs that have the same ones."""
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _short(value: object) -> str:
    """Return a figure with three digits that mean something, and text as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
