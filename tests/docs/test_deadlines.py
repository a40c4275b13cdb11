"""The deadlines that docs/architecture.md tells are those of the code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
TABLE = PAGE.partition("## Deadlines")[2].partition("\n## ")[0]
_ROW = re.compile(r"^\| (?!wait|---|\*\*)(.+?) \| ([\d.; ]+) \| (.+?) \|$", re.MULTILINE)
_WORD = re.compile(r"`([\w./]+)`")


def values_of(path: str) -> dict[str, float]:
    """Return every number that a file gives a name, a field, or a parameter by that name."""
    found: dict[str, float] = {}
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        pairs: list[tuple[str, ast.expr | None]] = []
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pairs = [(name, value)]
            case ast.AnnAssign(target=ast.Name(id=name), value=value):
                pairs = [(name, value)]
            case ast.keyword(arg=str(name), value=value):
                pairs = [(name, value)]
            case ast.arguments(kwonlyargs=names, kw_defaults=defaults):
                pairs = [(arg.arg, value) for arg, value in zip(names, defaults, strict=True)]
            case _:
                pass
        for name, value in pairs:
            if isinstance(value, ast.Constant) and isinstance(value.value, int | float):
                found.setdefault(name, value.value)
    return found


@pytest.mark.parametrize("row", _ROW.findall(TABLE), ids=lambda row: row[0])
def test_a_deadline_is_what_the_code_says(row: tuple[str, str, str]) -> None:
    path, told = "", []
    for word in _WORD.findall(row[2]):
        if word.endswith(".py"):
            path = word
        else:
            told.append(values_of(path).get(word, f"{path} has no number {word}"))
    assert told == [float(text) for text in row[1].split(";")]


def test_every_row_of_the_table_is_looked_at() -> None:
    lines = [line for line in TABLE.splitlines() if line.startswith("| ")]
    heads = [line for line in lines if line.startswith(("| wait", "| ---", "| **"))]
    assert len(_ROW.findall(TABLE)) == len(lines) - len(heads) > 20
