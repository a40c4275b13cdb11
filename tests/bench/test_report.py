"""What a benchmark says: medians, checks in both directions, and its place on the page."""

import json

import pytest

from bench import record
from bench.report import Check, Report, medians


def make_report(**fields: object) -> Report:
    values: dict[str, object] = {
        "name": "speed", "command": "make bench-speed", "conditions": "Nothing else ran.",
        "columns": (("who", "who"), ("rate", "rate")), "rows": [{"who": "spot", "rate": 123_456}],
        "seed": 3, "repeats": 5, "versions": {"python": "3.11"}, "cores": 2,
    }  # fmt: skip
    return Report(**(values | fields))  # type: ignore[arg-type]  # passed through


def test_medians_are_taken_figure_by_figure() -> None:
    runs = [{"a": 1.0, "b": 9.0}, {"a": 5.0, "b": 7.0}, {"a": 3.0, "b": 8.0}]
    assert medians(runs) == {"a": 3.0, "b": 8.0}


@pytest.mark.parametrize(
    ("found", "is_minimum", "holds"),
    [(10, True, True), (9, True, False), (10, False, True), (11, False, False)],
)
def test_a_check_knows_which_side_is_good(found: float, is_minimum: bool, holds: bool) -> None:
    check = Check("rate", found, 10, is_minimum=is_minimum)
    assert check.holds is holds
    assert str(check).startswith("holds" if holds else "MISSED")


def test_a_table_states_what_must_be_known() -> None:
    text = make_report(notes=["skipped peer: not there"]).markdown()
    for part in ("make bench-speed", "2 cores", "seed 3", "medians of 5", "python 3.11"):
        assert part in text
    assert "| spot | 123,456 |" in text
    assert "- skipped peer: not there" in text


def test_every_line_is_json_and_names_its_benchmark() -> None:
    report = make_report(checks=[Check("rate", 1.0, 2.0)])
    lines = [json.loads(line) for line in report.json_lines()]
    assert [line["benchmark"] for line in lines] == ["speed"] * 3
    assert lines[0]["seed"] == 3
    assert lines[2]["holds"] is False


def test_a_record_replaces_only_its_own_place() -> None:
    page = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n<!-- bench:y -->\n<!-- /bench:y -->\n"
    text = record.placed(page, "x", r"new \1")
    assert "old" not in text
    assert "<!-- bench:x -->\nnew \\1\n<!-- /bench:x -->\nb\n<!-- bench:y -->" in text


def test_a_page_without_the_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place for z"):
        record.placed("nothing", "z", "body")
