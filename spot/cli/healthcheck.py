"""`python -m spot.cli.healthcheck [URL]`: 0 if the program beside it answers well, 1 if not.

For container engines: an image needs no curl. The URL is that of gateway or fleet, /livez on PORT,
unless another is given; /livez asks no database, so a database outage restarts nothing.
"""

import http.client
import os
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 4


def main(arguments: list[str]) -> int:
    """Ask once; say why where the answer is not good."""
    url = arguments[0] if arguments else f"http://127.0.0.1:{os.environ.get('PORT') or 8080}/livez"
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(
        parts.hostname or "127.0.0.1", parts.port or 80, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", parts.path or "/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as exc:
        sys.stderr.write(f"{url}: {exc}\n")
        return 1
    finally:
        connection.close()
    if status != 200:
        sys.stderr.write(f"{url}: answered {status}\n")
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
