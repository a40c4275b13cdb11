"""The pinned packages: what a fresh machine installs today is what was locked.

A package wanted with an extra (`coverage[toml]`) has to be pinned with that extra. The pip that comes
with Python 3.11 looks for an unpinned one anew, and refuses it from the day on which a newer version
is published than the locked one.
"""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
_PINNED = re.compile(r"^([\w.-]+)(?:\[([\w, -]+)\])?==(\S+)", re.MULTILINE)


def pinned(lock: Path) -> dict[str, set[str]]:
    """Return the extras with which each package is pinned."""
    found = _PINNED.findall(lock.read_text())
    return {
        canonicalize_name(name): set(re.findall(r"[\w-]+", extras)) for name, extras, _ in found
    }


def wanted(name: str, extras: set[str]) -> list[Requirement]:
    """Return what an installed package wants on this machine when installed with these extras."""
    texts = distribution(name).requires or []
    return [
        each
        for each in map(Requirement, texts)
        if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras | {""})
    ]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_package_is_pinned_with_the_extras_it_is_wanted_with(lock: Path) -> None:
    pins = pinned(lock)
    assert pins
    here = {name: extras for name, extras in pins.items() if is_installed(name)}
    loose = [
        f"{name} wants {each}"
        for name, extras in here.items()
        for each in wanted(name, extras)
        if not each.extras <= pins.get(canonicalize_name(each.name), set())
    ]
    assert loose == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_pin_has_hashes(lock: Path) -> None:
    blocks = re.split(r"\n(?=\w)", lock.read_text())
    assert [block for block in blocks if "==" in block and "--hash=sha256:" not in block] == []


def is_installed(name: str) -> bool:
    """Whether this machine is one that the package is for."""
    try:
        distribution(name)
    except ModuleNotFoundError:
        return False
    return True
