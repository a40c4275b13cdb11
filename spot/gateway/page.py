"""The page at `/` and its files.

The page itself is the same for everybody: its scripts read what it shows from the API and the stream,
and what is chosen stands in the address (`?product=BTC-USD&granularity=1m`). Written into it are
only what the scripts cannot know in time: whether prices are simulated, the granularities, and which
of the third-party scripts are installed.
"""

import re
import string
from pathlib import Path

from aiohttp import web

from spot.gateway import assets
from spot.gateway.elements import escape
from spot.gateway.gateway import GATEWAY
from spot.gateway.policy import policy
from spot.models import Granularity

WEB = Path(__file__).parent / "web"
SIMULATED = (
    '<p class="banner" id="simulated"><strong>Simulated</strong>These prices are invented by'
    " a simulated exchange. They are not those of any real market.</p>"
)
NO_CLIENT = (
    '<p class="banner" id="no-client"><strong>Not live</strong>Datastar\'s browser client is not'
    " installed, so nothing here will move. Run <code>python -m spot.gateway.assets</code> (or"
    " <code>make setup</code>) on the server, or set <code>SPOT_DATASTAR_CDN</code>, and reload.</p>"
)
# One folder deep at most, no leading dot: nothing outside can be named.
FILE_NAME = re.compile(r"(vendor/)?[A-Za-z0-9][A-Za-z0-9.-]*")
TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


async def get_page(request: web.Request) -> web.Response:
    """Return the page."""
    settings = request.app[GATEWAY].settings
    is_simulated = settings.is_simulated
    charts = assets.CHARTS.script(assets.VENDOR)
    client = assets.DATASTAR.script(assets.VENDOR, settings.datastar_cdn)
    template = string.Template((WEB / "page.html").read_text())
    text = template.substitute(
        title="Spot (simulated)" if is_simulated else "Spot",
        exchange=escape(settings.exchange),
        simulated="true" if is_simulated else "false",
        granularities=" ".join(f"{g.value}/{g.short}/{g.seconds}" for g in Granularity),
        banners=(SIMULATED if is_simulated else "") + ("" if client else NO_CLIENT),
        preloads=_preloads(),
        scripts=_scripts(charts, client),
    )
    elsewhere = [s.address for s in (charts, client) if s is not None and s.integrity]
    return web.Response(
        text=text,
        content_type="text/html",
        headers={"Cache-Control": "no-store", "Content-Security-Policy": policy(*elsewhere)},
    )


async def get_file(request: web.Request) -> web.StreamResponse:
    """Return one of the page's files."""
    name = request.match_info["name"]
    path = WEB / name
    if not FILE_NAME.fullmatch(name) or path.suffix not in TYPES or not path.is_file():
        raise web.HTTPNotFound
    # Asked again every time and answered 304: after a deploy nobody runs old scripts.
    return web.FileResponse(
        path, headers={"Cache-Control": "no-cache", "Content-Type": f"{TYPES[path.suffix]}"}
    )


def _preloads() -> str:
    """Name every module at once: found import by import they would come one round trip deeper each."""
    names = sorted(path.name for path in WEB.glob("*.js"))
    return "\n".join(f'<link rel="modulepreload" href="/web/{name}">' for name in names)


def _scripts(charts: assets.Script | None, client: assets.Script | None) -> str:
    """Return the script elements, in the order in which they must run."""
    scripts = ['<script type="module" src="/web/main.js"></script>']
    if charts is not None:
        scripts.insert(0, _element("defer", charts))
    if client is not None:
        # Last, because it opens streams at once: the others must be listening by then.
        scripts.append(_element('type="module"', client))
    return "\n".join(scripts)


def _element(kind: str, script: assets.Script) -> str:
    # A browser does not run a script from elsewhere whose content is not the pinned one.
    pin = f' integrity="{script.integrity}" crossorigin="anonymous"' if script.integrity else ""
    return f'<script {kind} src="{escape(script.address)}"{pin}></script>'
