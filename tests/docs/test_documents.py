"""The documents name files that exist, and link to what is there: files and headings."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    *(ROOT / "sql").glob("*.md"),
    *(ROOT / "examples").rglob("*.md"),
]
_FILE = re.compile(r"\b(?:spot|shards|tests|bench|sql|compose|cloud|examples|docs)/[\w/.-]+\.\w+")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_RECORD = re.compile(r"^# (\d+)\. (.+)$", re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """Return what `#...` may name in a document, spelled as forges do."""
    headings = _HEADING.findall(_CODE.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def is_dead(link: str, document: Path) -> bool:
    """Whether a link inside of the repository leads nowhere."""
    if "://" in link:
        return False
    name, _, anchor = link.partition("#")
    target = (document.parent / name) if name else document
    return not target.exists() or (anchor != "" and anchor not in anchors(target))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_and_link_exists(document: Path) -> None:
    text = document.read_text()
    named = {ROOT / name for name in _FILE.findall(_LINK.sub("", text))}
    missing = [str(path.relative_to(ROOT)) for path in named if not path.exists()]
    missing += [link for link in _LINK.findall(text) if is_dead(link, document)]
    missing = [name for name in missing if name != "compose/.env"]  # the reader makes it
    assert missing == []


def test_every_document_can_be_reached_from_the_readme() -> None:
    found, ahead = set(), {ROOT / "README.md"}
    while ahead:
        document = ahead.pop()
        found.add(document)
        links = [link.partition("#")[0] for link in _LINK.findall(document.read_text())]
        targets = {(document.parent / link).resolve() for link in links if "://" not in link}
        ahead |= {path for path in targets if path.suffix == ".md"} - found
    assert set(DOCUMENTS) - found == set()


def test_the_list_of_decisions_is_complete() -> None:
    folder = ROOT / "docs" / "adr"
    listed = (folder / "README.md").read_text()
    records = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    for number, path in enumerate(records, 1):
        assert path.name.startswith(f"{number:04}-")
        [(said, title)] = _RECORD.findall(path.read_text())
        assert int(said) == number
        assert f"[{number}]({path.name}) | {title} |" in listed
