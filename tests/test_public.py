"""`import spot`: what it offers, what it costs, and that docs/python.md says so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import spot

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "python.md").read_text()
HEAVY = ("aiohttp", "psycopg", "psycopg_pool", "uvloop", "yoyo", "cryptography", "jwt")


def run(code: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.strip()


def test_importing_it_imports_nothing_else() -> None:
    found = run("import spot, sys; print([m for m in sys.modules if m.startswith('spot')])")
    assert found == "['spot']"


def test_decoding_and_folding_need_no_network_and_no_database() -> None:
    code = (
        f"import spot, sys; spot.Protocol, spot.Aggregator; print(set({HEAVY}) & set(sys.modules))"
    )
    assert run(code) == "set()"


@pytest.mark.parametrize("name", spot.__all__)
def test_every_public_name_is_there_and_told(name: str) -> None:
    assert getattr(spot, name).__doc__ or name == "FeedEvent"
    assert f"`{name}`" in DOCUMENT
    assert name in dir(spot)


def test_any_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'spot' has no attribute 'nope'"):
        getattr(spot, "nope")  # noqa: B009 - a checker would rightly refuse spot.nope


def test_code_in_the_document_is_that_of_the_example_it_names() -> None:
    named = re.findall(
        r"\(\.\./(examples/\w+\.py)\)[^`]*```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE
    )
    assert len(named) == DOCUMENT.count("```python") > 0
    for path, block in named:
        assert block in (ROOT / path).read_text(), path


def test_types_are_packaged() -> None:
    for package in ("spot", "shards"):
        assert (ROOT / package / "py.typed").is_file()
