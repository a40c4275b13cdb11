"""Fetch Datastar's browser client, once, at set-up: `python -m spot.gateway.assets`.

The page needs one JavaScript file that is not ours and not in this repository. It comes out of a
pinned wheel through pip, is checked against its known hash and put beside the page with its
licence; nothing happens where the right file is there already. Without it the page says so.
"""

import contextlib
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from spot.errors import LocalError

VENDOR = Path(__file__).parent / "web" / "vendor"
DATASTAR = VENDOR / "datastar.js"
LICENCE = VENDOR / "datastar.LICENSE.txt"

REQUIREMENT = "starhtml==0.7.0"  # carries Datastar v1.0.1 as a plain ES module
MEMBER = "starhtml/static/js/datastar-core.js"
SHA256 = "31c8c9efb895beadeba5f73407c3ca60201dee321c5dea56c182817b475bde9f"
DOWNLOAD_SECONDS = 120

NOTICE = """\
datastar.js is Datastar v1.0.1 (https://data-star.dev), with the two small patches of the starhtml
package (https://pypi.org/project/starhtml/, Apache-2.0), from whose wheel it was taken.

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


def has_datastar(path: Path = DATASTAR) -> bool:
    """Whether the right file is in place."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    except OSError:
        return False


def fetch(vendor: Path = VENDOR) -> bool:
    """Put the file in place; return whether it had to be fetched."""
    if has_datastar(vendor / DATASTAR.name):
        return False
    with tempfile.TemporaryDirectory(prefix="spot-assets-") as folder:
        script = read_script(_download(Path(folder)))
    vendor.mkdir(parents=True, exist_ok=True)
    (vendor / LICENCE.name).write_text(NOTICE)
    # Replaced in one step: a gateway that is serving never sends half a file.
    partial = vendor / f"{DATASTAR.name}.part"
    partial.write_bytes(script)
    partial.replace(vendor / DATASTAR.name)
    return True


def _download(folder: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
        "--no-deps", "--python-version", "3.12", "--only-binary=:all:", "--dest", str(folder),
        REQUIREMENT,
    ]  # fmt: skip
    try:
        subprocess.run(  # noqa: S603 - no part of it comes from outside
            command, check=True, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS
        )
    except subprocess.CalledProcessError as exc:
        last = (exc.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise LocalError(f"pip cannot download {REQUIREMENT}: {last}") from exc
    except subprocess.TimeoutExpired as exc:
        raise LocalError(f"pip did not download {REQUIREMENT} in {DOWNLOAD_SECONDS} s") from exc
    return next(folder.glob("*.whl"))


def read_script(wheel: Path) -> bytes:
    """Return the script out of the wheel, if it is the one that is known."""
    with contextlib.suppress(KeyError, zipfile.BadZipFile), zipfile.ZipFile(wheel) as archive:
        script = archive.read(MEMBER)
        if hashlib.sha256(script).hexdigest() == SHA256:
            return script
    raise LocalError(f"{wheel.name} does not hold the expected {MEMBER}")


def main() -> int:
    """Fetch it; say so only where something was done or went wrong."""
    try:
        if fetch():
            sys.stdout.write(f"fetched {DATASTAR.name} ({REQUIREMENT})\n")
    except LocalError as exc:
        sys.stderr.write(f"the page's Datastar client could not be fetched: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
