"""`make soak`: the soak as a command, with its progress; exit code 1 when a candle is wrong."""

import argparse
import sys

from tests.soak.soak import SoakSettings, soak


def main() -> int:
    """Run the soak and say what came out."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    default = SoakSettings()
    parser.add_argument("--seconds", type=float, default=default.seconds, help="with faults on")
    parser.add_argument("--products", type=int, default=default.products)
    parser.add_argument("--rate", type=int, default=default.rate, help="trades/s of all products")
    parser.add_argument("--shards", type=int, default=default.shards)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--faults", default=default.faults, help="as in `spot simulate`")
    arguments = vars(parser.parse_args())
    report = soak(SoakSettings(**arguments), lambda line: print(line, flush=True))  # noqa: T201
    seconds = report.mended_in_seconds
    mended = "not mended" if seconds is None else f"mended in {seconds:.0f} s"
    print(  # noqa: T201
        f"wrong while claiming full: {report.wrong_full_meanwhile} meanwhile,"
        f" {report.final.wrong_full} at the end; partial without a gap row:"
        f" {report.orphans_meanwhile}; {mended};"
        f" exact {report.final.exact}; shard memory {report.memory_kib[0]} to"
        f" {report.memory_kib[-1]} KiB"
    )
    clean = report.final.is_spotless and not report.wrong_full_meanwhile
    clean = clean and not report.orphans_meanwhile and seconds is not None
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
