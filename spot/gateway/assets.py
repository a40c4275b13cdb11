"""Fetch the page's third-party scripts, once, at set-up: `python -m spot.gateway.assets`.

The page needs two JavaScript files that are not ours and not in this repository. Each comes out of
a pinned wheel through pip, is checked against its known hash and put beside the page with its
licence; nothing happens where the right file is there already. Without one of them a page loads it
from where it is published, if its content is pinned, and else says what is missing.
"""

import base64
import contextlib
import dataclasses
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from spot.errors import LocalError

VENDOR = Path(__file__).parent / "web" / "vendor"
DOWNLOAD_SECONDS = 120

MIT = """\
MIT License

Copyright (c) Delaney Gillilan

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction,
including without limitation the rights to use, copy, modify, merge, publish, distribute,
sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or
substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


@dataclasses.dataclass(frozen=True)
class Script:
    """What a page needs to load a script: the address, and the hash if it is not our own."""

    address: str
    integrity: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """One script: what it is called here, where it comes from, and how it is known."""

    name: str
    requirement: str  # the wheel that carries it
    member: str  # its path in there
    sha256: str
    notice: str
    cdn: str | None = None  # where the very same file is published

    @property
    def licence_name(self) -> str:
        """The file beside it that says whose it is."""
        return f"{self.name.removesuffix('.js')}.LICENSE.txt"

    def is_in(self, vendor: Path) -> bool:
        """Whether the right file is in place."""
        try:
            return hashlib.sha256((vendor / self.name).read_bytes()).hexdigest() == self.sha256
        except OSError:
            return False

    def script(self, vendor: Path, pinned: str | None = None) -> Script | None:
        """Return where a page gets it: from here, or from elsewhere if its content is pinned.

        `pinned` (`URL#INTEGRITY`) is the operator's word, for a script that is published nowhere
        as it is here.
        """
        if (vendor / self.name).is_file():
            return Script(f"/web/vendor/{self.name}")
        if pinned is not None:
            address, _, integrity = pinned.partition("#")
            return Script(address, integrity)
        if self.cdn is not None:
            digest = base64.b64encode(bytes.fromhex(self.sha256)).decode()
            return Script(self.cdn, f"sha256-{digest}")
        return None


DATASTAR = Asset(
    name="datastar.js",
    requirement="starhtml==0.7.0",  # carries Datastar v1.0.1 as a plain ES module
    member="starhtml/static/js/datastar-core.js",
    sha256="31c8c9efb895beadeba5f73407c3ca60201dee321c5dea56c182817b475bde9f",
    notice=(
        "datastar.js is Datastar v1.0.1 (https://data-star.dev), with the two small patches of\n"
        "the starhtml package (https://pypi.org/project/starhtml/, Apache-2.0), from whose wheel\n"
        "it was taken.\n\n" + MIT
    ),
)
CHARTS = Asset(
    name="lightweight-charts.js",
    cdn="https://cdn.jsdelivr.net/npm/lightweight-charts@5.2.1/dist/lightweight-charts.standalone.production.js",
    requirement="pylightcharts==0.1.6",  # carries npm's file of lightweight-charts 5.2.1 unchanged
    member="pylightcharts/js/lightweight-charts.js",
    sha256="e21cc5caa0226ef30bd8549c50b9ef926615f2a4ee6b4e486353477a55f598cf",
    notice=(
        "lightweight-charts.js is TradingView Lightweight Charts(tm) v5.2.1\n"
        "(https://www.npmjs.com/package/lightweight-charts, lightweight-charts.standalone.production.js),\n"
        "unchanged, as it is also in the pylightcharts wheel from which it was taken.\n\n"
        "Copyright (c) 2026 TradingView, Inc. https://www.tradingview.com/\n\n"
        'Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file\n'
        "except in compliance with the License. You may obtain a copy of the License at\n\n"
        "    http://www.apache.org/licenses/LICENSE-2.0\n\n"
        "Unless required by applicable law or agreed to in writing, software distributed under the\n"
        'License is distributed on an "AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND,\n'
        "either express or implied. See the License for the specific language governing permissions\n"
        "and limitations under the License.\n"
    ),
)
ASSETS = (DATASTAR, CHARTS)


def is_complete(vendor: Path = VENDOR) -> bool:
    """Whether every script is in place."""
    return all(asset.is_in(vendor) for asset in ASSETS)


def fetch(asset: Asset, vendor: Path = VENDOR) -> bool:
    """Put the script in place; return whether it had to be fetched."""
    if asset.is_in(vendor):
        return False
    with tempfile.TemporaryDirectory(prefix="spot-assets-") as folder:
        script = read_script(asset, _download(asset.requirement, Path(folder)))
    vendor.mkdir(parents=True, exist_ok=True)
    (vendor / asset.licence_name).write_text(asset.notice)
    # Replaced in one step: a gateway that is serving never sends half a file.
    partial = vendor / f"{asset.name}.part"
    partial.write_bytes(script)
    partial.replace(vendor / asset.name)
    return True


def _download(requirement: str, folder: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--python-version", "3.12", "--only-binary=:all:", "--dest", str(folder),
        requirement,
    ]  # fmt: skip
    try:
        subprocess.run(  # noqa: S603 - no part of it comes from outside
            command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.CalledProcessError as exc:
        last = (exc.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LocalError(f"pip cannot download {requirement}: {last}") from exc
    except subprocess.TimeoutExpired as exc:
        raise LocalError(f"pip did not download {requirement} in {DOWNLOAD_SECONDS} s") from exc
    return next(folder.glob("*.whl"))


def read_script(asset: Asset, wheel: Path) -> bytes:
    """Return the script out of the wheel, if it is the one that is known."""
    with contextlib.suppress(KeyError, zipfile.BadZipFile), zipfile.ZipFile(wheel) as archive:
        script = archive.read(asset.member)
        if hashlib.sha256(script).hexdigest() == asset.sha256:
            return script
    raise LocalError(f"{wheel.name} does not hold the expected {asset.member}")


def main() -> int:
    """Fetch what is missing; say so only where something was done or went wrong."""
    failures = 0
    for asset in ASSETS:
        try:
            if fetch(asset):
                sys.stdout.write(f"fetched {asset.name} ({asset.requirement})\n")
        except LocalError as exc:
            failures += 1
            sys.stderr.write(f"the page's {asset.name} could not be fetched: {exc}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
