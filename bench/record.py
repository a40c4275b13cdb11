"""The results of record: a benchmark's report, put in its place in docs/performance.md."""

import re
from pathlib import Path

from bench.report import Report

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"


def write(report: Report, page: Path = PAGE) -> None:
    """Replace what stands between the page's two marks of this benchmark."""
    page.write_text(placed(page.read_text(), report.name, report.markdown()))


def placed(text: str, name: str, body: str) -> str:
    """Return `text` with `body` between the marks of `name`."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    marks = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not marks.search(text):
        raise ValueError(f"the page has no place for {name}: wanted {begin} and {end}")
    return marks.sub(lambda _: f"{begin}\n{body}\n{end}", text)
