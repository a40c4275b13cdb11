"""Take the pictures in docs/images: `make screenshots`.

They show what `spot demo` shows, a minute after its start and with two days of its exchange's history:
nothing is drawn that a reader would not see. Needs Chromium; Inter, where it is installed, is used.
"""

import asyncio
import contextlib
import datetime
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Browser, Page, ViewportSize, async_playwright

from spot.cli.local_database import local_database
from spot.cli.stack import free_port
from spot.clock import monotonic
from tests.fixtures.browser import ARGUMENTS, CHROMIUM, DESKTOP, PHONE

IMAGES = Path(__file__).parent / "images"
ROOT = Path(__file__).parents[1]
PRODUCTS = 40
CHARTS = "BTC-USD,ETH-USD,SOL-USD"
TRIES = 5
START_SECONDS = 120
HISTORY_HOURS = 30
SETTLE_SECONDS = 75.0  # the day's figures are read once a minute


class Picture(NamedTuple):
    """One picture: where, how large, how."""

    name: str
    query: str
    scheme: str
    viewport: ViewportSize
    scale: float
    crosshair: bool = False


PICTURES = (
    Picture("page", "product=BTC-USD&granularity=5m", "dark", DESKTOP, 2),
    Picture("dark", "product=ETH-USD&granularity=15m", "dark", DESKTOP, 1, crosshair=True),
    Picture("light", "product=SOL-USD&granularity=5m", "light", DESKTOP, 1, crosshair=True),
    Picture("phone", "product=BTC-USD&granularity=5m", "dark", PHONE, 2),
    Picture("phone-list", "", "light", PHONE, 2),
)


def main() -> int:
    """Start a demo, fill its past, take the pictures, stop it."""
    if CHROMIUM is None:
        sys.stderr.write("screenshots: wanted chromium on the path\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="spot-screenshots-") as folder:
        Path(folder).chmod(0o755)  # the database's own user must be able to walk into it
        with _demo(Path(folder)) as url:
            asyncio.run(_take_all(url))
    return 0


@contextlib.contextmanager
def _demo(folder: Path) -> Iterator[str]:
    port = free_port()
    log = folder / "demo.log"
    command = [sys.executable, "-m", "spot.cli", "demo", "--port", str(port)]
    command += ["--products", str(PRODUCTS), "--data-dir", str(folder / "data")]
    environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
    environ.pop("DATABASE_URL", None)
    with log.open("wb") as output:
        demo = subprocess.Popen(command, stdout=output, stderr=output, cwd=ROOT, env=environ)  # noqa: S603 - our own
    try:
        _until_running(demo, log)
        _fill_past(folder / "data", log.read_text(), environ)
        yield f"http://localhost:{port}"
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(60)


def _until_running(demo: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + START_SECONDS
    while "Ctrl-C to stop" not in log.read_text():
        if demo.poll() is not None or monotonic() > deadline:
            raise SystemExit(f"screenshots: the demo did not start\n{log.read_text()}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            demo.wait(0.5)


def _fill_past(directory: Path, log: str, environ: dict[str, str]) -> None:
    port = re.search(r"simulated, on port (\d+)", log)
    if port is None:
        raise SystemExit("screenshots: the demo names no exchange")
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=HISTORY_HOURS)
    exchange = f"http://127.0.0.1:{port[1]}"
    command = [sys.executable, "-m", "spot.cli", "backfill", "--products", "all", "--rate", "10"]
    command += [
        "--granularity",
        "5m",
        "--granularity",
        "15m",
        "--start",
        f"{start:%Y-%m-%dT%H:00Z}",
    ]
    with local_database(directory / "postgres") as database_url:
        more = {
            "DATABASE_URL": database_url, "SPOT_SIMULATED": "1", "SPOT_EXCHANGE_URL": exchange,
            "SPOT_REST_URL": f"{exchange}/api/v3/brokerage",
        }  # fmt: skip
        for products, width in (("all", "15m"), (CHARTS, "5m")):
            # It goes on where it was: a machine that is busy needs a second try.
            runs = (
                subprocess.run(  # noqa: S603 - our own
                    [*command, "--products", products, "--granularity", width],
                    check=False,
                    cwd=ROOT,
                    env=environ | more,
                )
                for _ in range(TRIES)
            )
            if all(run.returncode for run in runs):
                raise SystemExit("screenshots: the past could not be filled")


async def _take_all(url: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        await asyncio.sleep(SETTLE_SECONDS)
        for picture in PICTURES:
            await _take(browser, url, picture)
            sys.stdout.write(f"docs/images/{picture.name}.png\n")
        await browser.close()


async def _take(browser: Browser, url: str, picture: Picture) -> None:
    context = await browser.new_context(
        viewport=picture.viewport, device_scale_factor=picture.scale, locale="en-GB",
        timezone_id="UTC", color_scheme="dark" if picture.scheme == "dark" else "light",
    )  # fmt: skip
    page = await context.new_page()
    await page.add_init_script("localStorage.setItem('spot.favourites', 'BTC-USD,ETH-USD')")
    await page.goto(f"{url}/?{picture.query}")
    await _until_drawn(page, has_chart=bool(picture.query))
    if picture.crosshair:
        box = await page.locator(".plot").bounding_box()
        if box is not None:
            await page.mouse.move(box["x"] + box["width"] * 0.62, box["y"] + box["height"] * 0.4)
    # Half a second, so that no line is caught in the middle of its flash.
    await page.wait_for_timeout(500)
    await page.screenshot(path=IMAGES / f"{picture.name}.png")
    await context.close()


async def _until_drawn(page: Page, *, has_chart: bool) -> None:
    await page.wait_for_selector('html[data-state="live"]', state="attached")
    if has_chart:
        await page.wait_for_selector('spot-chart[data-state="ready"]')
    if not has_chart or await page.is_visible("#overview"):
        await page.wait_for_function(
            """() => [...document.querySelectorAll("#row-group .row:not([hidden]) .spark path")]
                .every((line) => line.getAttribute("d"))"""
        )
    await page.wait_for_timeout(3_000)


if __name__ == "__main__":
    sys.exit(main())
