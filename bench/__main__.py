"""`python -m bench [NAME ...]`: run the named benchmarks, or all that there are.

Each prints its table and its checks, and its JSON lines after them; `--json FILE` puts the lines
there instead, `--record` also writes the tables into docs/performance.md. Exit code 1 says that a
target was missed.
"""

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from bench import record
from bench.report import Effort, Report
from spot.clock import monotonic

FOLDER = Path(__file__).parent


def known_names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.parent.name for path in FOLDER.glob("*/run.py"))


def main(arguments: list[str]) -> int:
    """Run them one after the other: they measure, so nothing else may run beside them."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known_names()))
    parser.add_argument("--effort", type=Effort, choices=list(Effort), metavar="|".join(Effort))
    parser.add_argument("--json", type=Path, metavar="FILE", help="the JSON lines go there")
    parser.add_argument("--record", action="store_true", help="rewrite docs/performance.md")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(known_names()))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; known: {', '.join(known_names())}")
    effort = options.effort or (Effort.FULL if options.names else Effort.SUITE)
    lines: list[str] = []
    is_missed = False
    for name in options.names or known_names():
        began = monotonic()
        try:
            report: Report | None = importlib.import_module(f"bench.{name}.run").measure(effort)
        except Exception:  # noqa: BLE001 - ten minutes' other figures must not be lost with it
            traceback.print_exc()
            is_missed = True
            continue
        if report is None:
            continue
        print(f"\n{name}\n\n{report.markdown()}\n\n({monotonic() - began:.0f} s)", flush=True)
        lines += report.json_lines()
        is_missed = is_missed or not all(check.holds for check in report.checks)
        if options.record:
            record.write(report)
    if options.json:
        options.json.write_text("".join(f"{line}\n" for line in lines))
    else:
        print("\n" + "\n".join(lines))
    return 1 if is_missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
