"""A peer's own virtual environment, below `bench/.cache`, which git ignores.

It is made with the Python that runs the benchmark and filled by pip from wherever pip is told to
look. What cannot be installed is skipped with the reason in one line; nothing is guessed for it.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parents[1] / ".cache"
SCRIPTS = Path(__file__).parent
_INSTALL_SECONDS = 300.0


@dataclasses.dataclass(frozen=True)
class Peer:
    """A package to compare with, and what it needs beside it."""

    name: str
    packages: tuple[str, ...]


CRYPTOFEED = Peer("cryptofeed", ("cryptofeed", "uvloop", "asyncpg"))
CCXT = Peer("ccxt", ("ccxt", "uvloop"))
SDK = Peer("coinbase-advanced-py", ("coinbase-advanced-py",))


class PeerMissingError(Exception):
    """The peer cannot be used here; the text says why."""


def interpreter(peer: Peer) -> Path:
    """Return the Python of the peer's environment, making it when it is not there."""
    folder = CACHE / peer.name
    python, done = folder / "bin" / "python", folder / ".installed"
    wanted = " ".join(peer.packages)
    if not done.exists() or done.read_text() != wanted:
        sys.stderr.write(f"installing {peer.name} into bench/.cache, once\n")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "-q", *peer.packages])
        done.write_text(wanted)
    return python


def available(peers: Sequence[Peer], notes: list[str]) -> list[Peer]:
    """Return the peers that can be used here; the others are noted."""
    found = []
    for peer in peers:
        try:
            interpreter(peer)
        except PeerMissingError as exc:
            notes.append(f"skipped {peer.name}: {exc}")
        else:
            found.append(peer)
    return found


def version(peer: Peer) -> str:
    """Return the version that is installed."""
    code = f"import importlib.metadata as m; print(m.version({peer.name!r}))"
    return _run([str(interpreter(peer)), "-c", code]).strip()


def run_script(peer: Peer, script: str, *arguments: str, seconds: float) -> dict[str, Any]:
    """Run one of our scripts in the peer's environment; return the JSON of its last line."""
    command = [str(interpreter(peer)), str(SCRIPTS / script), *arguments]
    answer = json.loads(_run(command, seconds).splitlines()[-1])
    assert isinstance(answer, dict), answer
    return answer


def _run(command: list[str], seconds: float = _INSTALL_SECONDS) -> str:
    # Neither our packages nor our settings may leak into the peer's environment.
    environ = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=True, env=environ
        )
    except subprocess.TimeoutExpired as exc:
        raise PeerMissingError(f"not done after {seconds:g} s") from exc
    except (subprocess.CalledProcessError, OSError) as exc:
        words = getattr(exc, "stderr", "") or str(exc)
        raise PeerMissingError(" ".join(words.split())[-200:] or "it failed silently") from exc
    return done.stdout
