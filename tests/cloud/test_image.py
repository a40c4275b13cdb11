"""The image's programs, started as in a container and without one: the built wheel on a read-only
mount, a user who owns nothing, the documented environment and no other, and process 1 of a process
namespace, where a signal without a handler is ignored and nobody else cleans up.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from spot.store import migration_lock, schema
from tests.fixtures.gcloud import ROOT
from tests.fixtures.processes import children_of, free_port, is_alive, wait_until
from tests.fixtures.proxy import PostgresProxy

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]

USER = "10001"
# What the Dockerfile's ENV gives every program.
IMAGE = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1", "USER": "spot"}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as the Dockerfile builds it, from the files it copies."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("needs root, unshare and setpriv to be like a container")
    context = tmp_path_factory.mktemp("context")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, context)
    for name in ("sql", "spot", "shards"):
        shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    vendor = context / "spot/gateway/web/vendor"
    vendor.mkdir(exist_ok=True)
    (vendor / "probe.js").touch()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=context, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    code = context / "code"
    with zipfile.ZipFile(next((context / "dist").glob("*.whl"))) as wheel:
        wheel.extractall(code)
    for path in (context, *context.parents):
        # The other user has to walk in, and pytest's own folders are closed to it.
        if path.owner() == context.owner() and path.name.startswith(("context", "popen", "pytest")):
            path.chmod(0o755)
    if subprocess.run(as_in_container(code, "-c", "import spot"), check=False).returncode:
        pytest.skip("this machine's Python or its namespaces are not for another user")
    return code


def as_in_container(code: Path, *arguments: str) -> list[str]:
    mount = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd /tmp && exec "$@"'
    return [
        "unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child",
        "sh", "-c", mount, str(code),
        "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs",
        "--bounding-set=-all", sys.executable, *arguments,
    ]  # fmt: skip


class Container:
    """One started program, and process 1 of its namespace as seen from here."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log
        wait_until(lambda: children_of(process.pid) or process.poll() is not None, "process 1")
        self.first = next(iter(children_of(process.pid)), 0)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def is_saying(self, words: str) -> bool:
        assert self.process.poll() is None, self.log
        return words in self.log

    def stop(self, seconds: float = 9) -> int:
        """Send SIGTERM to process 1; return its exit code."""
        os.kill(self.first, signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def container(code: Path, *arguments: str, **settings: str) -> Iterator[Container]:
    path = code.parent / f"{arguments[0]}.log"
    log: IO[bytes]
    with path.open("wb") as log:
        process = subprocess.Popen(
            as_in_container(code, "-m", "spot.cli", *arguments),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(code), **IMAGE, **settings},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    started = Container(process, path)
    try:
        yield started
    finally:
        process.kill()
        process.wait(10)
        wait_until(lambda: not is_alive(started.first), "the namespace's end")


def healthcheck(url: str) -> int:
    command = [sys.executable, "-m", "spot.cli.healthcheck", url]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, timeout=20, check=False
    ).returncode


def is_well(url: str) -> Callable[[], bool]:
    return lambda: healthcheck(url) == 0


def test_package_holds_migrations_and_page(code: Path) -> None:
    sql = {path.name for path in (code / "spot/_sql").iterdir()}
    assert sql == {path.name for path in schema.migrations_path().iterdir()}
    assert (code / "spot/gateway/web/vendor/probe.js").exists()
    assert (code / "spot/gateway/web/page.html").exists()


def test_code_cannot_be_written_and_is_not_the_checkouts(code: Path) -> None:
    script = (
        "import spot, os; print(spot.__file__, os.getpid(), os.getuid()); open(spot.__file__, 'a')"
    )
    done = subprocess.run(
        as_in_container(code, "-c", script),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(code)},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout.split() == [str(code / "spot/__init__.py"), "1", USER]
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr


async def test_migrate_and_maintain_end_well(code: Path, proxy: PostgresProxy) -> None:
    for arguments in (("migrate", "up"), ("migrate", "status"), ("maintain",)):
        with container(code, *arguments, DATABASE_URL=proxy.url) as started:
            assert await asyncio.to_thread(started.process.wait, 40) == 0, started.log


async def test_a_waiting_migration_ends_on_sigterm(
    code: Path, proxy: PostgresProxy, database_url: str
) -> None:
    with (
        migration_lock.only_one(database_url),
        container(code, "migrate", "up", DATABASE_URL=proxy.url) as started,
    ):
        await asyncio.to_thread(wait_until, lambda: started.is_saying("waiting"), "a wait", 30)
        assert await asyncio.to_thread(started.stop) == 1
        assert "interrupted" in started.log


async def test_simulator_fleet_and_gateway_run_and_leave_in_time(
    code: Path, proxy: PostgresProxy
) -> None:
    market, shard, pages = (str(free_port()) for _ in range(3))
    settings = {
        "DATABASE_URL": proxy.url, "SHARD_COUNT": "2", "SPOT_SIMULATED": "1",
        "SPOT_WS_URL": f"ws://127.0.0.1:{market}/ws",
        "SPOT_REST_URL": f"http://127.0.0.1:{market}/api/v3/brokerage",
        "SPOT_EXCHANGE_URL": f"http://127.0.0.1:{market}",
    }  # fmt: skip
    simulate = ("simulate", "--host", "127.0.0.1", "--port", market, "--products", "4")
    with (
        container(code, *simulate) as exchange,
        container(code, "fleet", PORT=shard, **settings) as fleet,
        container(code, "gateway", PORT=pages, **settings) as gateway,
    ):
        for name, url in {
            "simulator": f"http://127.0.0.1:{market}/api/v3/brokerage/time",
            "fleet": f"http://127.0.0.1:{shard}/readyz",
            "gateway": f"http://127.0.0.1:{pages}/readyz",
        }.items():
            await asyncio.to_thread(wait_until, is_well(url), f"the {name} at {url}", 60)
        assert healthcheck(f"http://127.0.0.1:{pages}/no-such-page") == 1
        family = children_of(fleet.first)
        assert len(family) >= 2
        for started in (gateway, fleet, exchange):
            assert await asyncio.to_thread(started.stop) == 0, started.log
        assert not [pid for pid in family if is_alive(pid)]
    assert healthcheck(f"http://127.0.0.1:{pages}/livez") == 1


async def test_a_wrong_environment_is_told_at_once(code: Path) -> None:
    for program in ("fleet", "gateway", "migrate"):
        arguments = (program, "up") if program == "migrate" else (program,)
        with container(code, *arguments, SHARD_COUNT="none") as started:
            assert await asyncio.to_thread(started.process.wait, 30) == 2
            assert "DATABASE_URL is missing" in started.log
