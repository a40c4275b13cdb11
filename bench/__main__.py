"""`python -m bench [NAME ...]`: run the named benchmarks, or all that there are."""

import importlib
import sys
from pathlib import Path


def main(names: list[str]) -> int:
    """Run them one after the other: they measure, so nothing else may run beside them."""
    known = sorted(path.parent.name for path in Path(__file__).parent.glob("*/run.py"))
    unknown = sorted(set(names) - set(known))
    if unknown or not known:
        wanted = ", ".join(known) or "none yet"
        sys.stderr.write(f"bench: no benchmark {', '.join(unknown) or 'at all'}; known: {wanted}\n")
        return 2 if unknown else 0
    codes = [importlib.import_module(f"bench.{name}.run").main() for name in names or known]
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
