"""The documents name files that exist, and link to what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "sql").glob("*.md"),
]
_FILE = re.compile(r"\b(?:spot|shards|tests|bench|sql|compose|cloud)/[\w/.-]+\.\w+")
_LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_and_link_exists(document: Path) -> None:
    text = document.read_text()
    named = {ROOT / name for name in _FILE.findall(text)}
    links = {name for name in _LINK.findall(text) if "://" not in name}
    missing = [str(path.relative_to(ROOT)) for path in named if not path.exists()]
    missing += [name for name in links if not (document.parent / name).exists()]
    missing = [name for name in missing if name != "compose/.env"]  # the reader makes it
    assert missing == []
