"""The page's own JavaScript: typed by its comments, and its pure parts by what they answer.

TypeScript checks the comments where npm is found; nothing else in this repository needs it.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from spot.models import Granularity
from tests.fixtures.browser import needs_browser, open_page
from tests.fixtures.gateway import Publisher, running_gateway

HERE = Path(__file__).parent
# Outside of the repository, shared by all runs: one download per machine.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "spot" / "typescript-5.9.3"
DOWNLOAD_SECONDS = 40


@pytest.fixture(scope="session")
def typescript() -> Path:
    """The compiler, fetched once."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine")
    compiler = CACHE / "node_modules" / ".bin" / "tsc"
    if not compiler.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
        try:
            subprocess.run([*command, "typescript@5.9.3"], check=True, timeout=DOWNLOAD_SECONDS)
        except (subprocess.SubprocessError, OSError) as exc:
            pytest.skip(f"npm cannot fetch TypeScript here: {type(exc).__name__}")
    return compiler


@pytest.mark.timeout(150)  # a download and a check, each with its own
def test_modules_have_the_types_they_say(typescript: Path) -> None:
    checked = subprocess.run(
        [typescript, "--project", HERE / "web" / "tsconfig.json"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


PRODUCT = (
    "{product: 'A-USD', active: true, base: 'A', quote: 'USD', price: null, price_increment: '0.01',"
    " open_24h: null, high_24h: null, low_24h: null, volume_24h: %s}"
)


class InPage:
    """Calls functions of the page's modules in a browser."""

    def __init__(self, page: Any) -> None:
        self._page = page

    async def __call__(self, module: str, expression: str) -> Any:
        """Return what the expression gives with the module's names in scope."""
        return await self._page.evaluate(
            """async ([module, expression]) => {
                const found = await import(`/web/${module}`);
                return new Function(...Object.keys(found), `return ${expression}`)(...Object.values(found));
            }""",
            [module, expression],
        )


@needs_browser[0]
@needs_browser[1]
async def test_pure_parts(database_url: str, publish: Publisher) -> None:
    async with running_gateway(database_url) as (_, url), open_page() as page:
        await page.goto(url)
        call = InPage(page)
        for module, expression, wanted in CASES:
            assert await call(module, expression) == wanted, expression


@needs_browser[0]
async def test_list_of_markets_is_asked_for_at_a_steady_rate(
    database_url: str, publish: Publisher
) -> None:
    """Whatever comes back, and also after half an hour of it."""
    answers = {
        "{products: []}": 2,
        "Promise.reject(new Error())": 2,
        f"{{products: [{PRODUCT % 'null'}]}}": 4,
        f"{{products: [{PRODUCT % 1}]}}": 60,
    }
    async with running_gateway(database_url) as (_, url), open_page() as page:
        await page.clock.install()
        for answer, pause_seconds in answers.items():
            await page.goto(f"{url}/livez")  # of the same origin, and nothing in it
            await page.evaluate(
                f"""async () => {{
                    globalThis.asked = [];
                    globalThis.fetch = async () => {{
                        globalThis.asked.push(Date.now());
                        return {{ok: true, json: async () => ({answer})}};
                    }};
                    const {{Market}} = await import("/web/market.js");
                    await new Market(document.body, {{see() {{}}}}).load();
                }}"""
            )
            # By the page's clock, which runs by itself besides.
            begun = await page.evaluate("Date.now()")
            await page.clock.run_for(40 * 60_000)
            asked = [(at - begun) / 60_000 for at in await page.evaluate("asked")]
            found = len([minute for minute in asked if 30 <= minute < 40])
            assert abs(found - 600 / pause_seconds) <= 1, answer


CANDLE = "{start: %d, revision: %d, updated: '%d', complete: %s, close: '%s'}"


def bars(*candles: str) -> str:
    """Return an expression that puts candles in order and tells what was kept."""
    puts = "".join(f"told.push(bars.put({candle}));" for candle in candles)
    answer = "return [told, bars.all.map((bar) => [bar.start, bar.close])]"
    return f"(() => {{ const bars = new Bars(); const told = []; {puts} {answer}; }})()"


CASES: list[tuple[str, str, object]] = [
    ("format.js", "price('1234567.5', 2)", "1,234,567.50"),
    ("format.js", "price('0.00001242', 8)", "0.00001242"),
    ("format.js", "price('0.123456789', 2)", "0.123456789"),  # no digit is ever taken away
    ("format.js", "price('80307.60000000', 2)", "80,307.60"),  # as another API pads them
    ("format.js", "price('80300.00', 0)", "80,300"),
    ("format.js", "price('97', 0)", "97"),
    ("format.js", "digitsOf('0.00000001')", 8),
    ("format.js", "digitsOf('1')", 0),
    ("format.js", "percent(0.01534)", "+1.53%"),
    ("format.js", "percent(-0.5)", "\u221250.00%"),
    ("format.js", "arrowed(0.000001)", "0.00%"),
    ("format.js", "compact(40612345)", "40.6M"),
    ("format.js", "compact(0)", "0"),
    ("format.js", "age(3.14)", "3.1 s"),
    ("format.js", "age(7300)", "2 h"),
    ("granularities.js", "granularityOf('1H').name", "ONE_HOUR"),
    ("granularities.js", "granularityOf('two_hour').short", "2h"),
    ("granularities.js", "granularityOf('3m')", None),
    ("granularities.js", "granularityOf('30m').words", "30 minutes"),
    ("granularities.js", "granularityOf('1d').words", "1 day"),
    (
        "granularities.js",
        "GRANULARITIES.map((one) => one.seconds)",
        [g.seconds for g in Granularity],
    ),
    ("selection.js", "near(['BTC-USD', 'ETH-USD', 'BCH-USD'], 'BTX-USD')", ["BTC-USD"]),
    ("selection.js", "near(['BTC-USD', 'ETH-USD'], 'ZZZZZZ')", []),
    ("selection.js", "fit({base: 'BTC', product: 'BTC-USD'}, 'BTC/USD')", 4),
    ("selection.js", "fit({base: 'WBTC', product: 'WBTC-USD'}, 'BTC')", 1),
    ("selection.js", "fit({base: 'ETH', product: 'ETH-USD'}, 'BTC')", 0),
    ("sparklines.js", "path({points: []}, 1, 900)", ""),
    (  # in order whatever they come in; older information changes nothing; closed stays closed
        "bars.js",
        bars(
            CANDLE % (60, 0, 5, "false", "a"),
            CANDLE % (120, 0, 9, "false", "b"),
            CANDLE % (0, 0, 9, "true", "c"),
            CANDLE % (60, 0, 9, "true", "d"),
            CANDLE % (60, 0, 10, "false", "e"),
            CANDLE % (60, 1, 8, "true", "f"),
            CANDLE % (120, 0, 8, "false", "g"),
        ),
        [
            ["newest", "newest", "between", "changed", "old", "changed", "old"],
            [[0, "c"], [60, "f"], [120, "b"]],
        ],
    ),
]
