"""The house's measures: files and functions that end, nothing twice, nothing left to do later."""

import ast
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 300
MOST_FUNCTION_LINES = 40
# A test that plays a whole story through real processes is easier to follow in one piece.
MOST_STORY_LINES = 60
MOST_EQUAL_LINES = 9
_THIN = re.compile(r"[\W_]*|#.*|//.*|--.*|(?:import|from) .*")  # no line of code
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")
SOURCES = (".py", ".js", ".css", ".html", ".sql", ".sh")
LATER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")


def sources(*endings: str) -> Iterator[tuple[str, str]]:
    """Return every source file that belongs to the project, with its text."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - the developer's own
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    for name in sorted(set(listed.stdout.splitlines())):
        path = ROOT / name
        if path.suffix in (endings or SOURCES) and path.is_file():
            yield name, path.read_text()


def test_no_file_is_too_long() -> None:
    lengths = {name: len(text.splitlines()) for name, text in sources()}
    assert len(lengths) > 300
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_function_is_too_long() -> None:
    long: dict[str, int] = {}
    for name, text in sources(".py"):
        most = MOST_STORY_LINES if name.startswith("tests/") else MOST_FUNCTION_LINES
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > most:
                    long[f"{name}: {node.name}"] = lines
    assert long == {}


def test_nothing_stands_twice() -> None:
    places: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, text in sources():
        if name.startswith("sql/"):  # a rollback has what it brings back
            continue
        numbered = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1)]
        code = [(n, line) for n, line in numbered if not _THIN.fullmatch(line)]
        for at in range(len(code) - MOST_EQUAL_LINES):
            run = code[at : at + MOST_EQUAL_LINES + 1]
            places[tuple(line for _, line in run)].append(f"{name}:{run[0][0]}")
    assert [found for found in places.values() if len(found) > 1] == []


def test_nothing_is_left_for_later() -> None:
    assert [name for name, text in sources() if LATER.search(text)] == []
