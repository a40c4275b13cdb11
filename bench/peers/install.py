"""A peer's own virtual environment, below `bench/.cache`, which git ignores.

It is made with the Python that runs the benchmark, or with a newer one of this machine where the
peer's newest version wants it, and filled by pip from wherever pip is told to look. What cannot be
installed is skipped with the reason in one line; nothing is guessed for it.
"""

import dataclasses
import functools
import json
import os
import platform
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
    # The Python its newest version wants; without one, pip takes the newest that runs.
    python: tuple[int, int] = (3, 11)


CRYPTOFEED = Peer("cryptofeed", ("cryptofeed", "uvloop", "asyncpg"), python=(3, 13))
CCXT = Peer("ccxt", ("ccxt", "uvloop"))
SDK = Peer("coinbase-advanced-py", ("coinbase-advanced-py",))


class PeerMissingError(Exception):
    """The peer cannot be used here; the text says why."""


def interpreter(peer: Peer) -> Path:
    """Return the Python of the peer's environment, making it when it is not there."""
    folder = CACHE / peer.name
    python, done = folder / "bin" / "python", folder / ".installed"
    base = python_of(peer.python)
    wanted = " ".join((*peer.packages, "with", base))
    if not done.exists() or done.read_text() != wanted:
        sys.stderr.write(f"installing {peer.name} into bench/.cache, once\n")
        _run([base, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "-q", *peer.packages])
        done.write_text(wanted)
    return python


@functools.cache
def python_of(wanted: tuple[int, int]) -> str:
    """Return a Python of at least this version, or the one that runs us where there is none."""
    if sys.version_info[:2] >= wanted:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [*map(Path, os.get_exec_path()), *pyenv.glob("versions/*/bin")]
    for minor in range(wanted[1], wanted[1] + 3):
        for path in (folder / f"python{wanted[0]}.{minor}" for folder in folders):
            # Some are only signposts to a Python that is not switched on.
            if path.is_file() and not subprocess.run([path, "-V"], capture_output=True).returncode:
                return str(path)
    return sys.executable


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
    """Return the version that is installed, and under which Python where it is not ours."""
    code = (
        "import platform, importlib.metadata as metadata;"
        f"print(metadata.version({peer.name!r}), platform.python_version())"
    )
    own, python = _run([str(interpreter(peer)), "-c", code]).split()
    return own if python == platform.python_version() else f"{own} (Python {python})"


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
