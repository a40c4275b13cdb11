"""The progress of a long command, on a terminal and elsewhere."""

import io

import pytest

from spot.cli import progress as module
from spot.cli.progress import Progress, bar_text, duration_text, progress_text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time stands at the list's only number."""
    now = [100.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_terminal_redraws_one_line_and_leaves_none(clock: list[float]) -> None:
    stream = Terminal()
    progress = Progress("pages", stream)
    for done in (10, 20, 30):
        clock[0] += 1
        progress.show(done, 100)
    shown = stream.getvalue()
    assert shown.count("\r") == 3
    assert "\n" not in shown
    assert "30%  30/100 pages  10.0/s  7s left" in shown
    progress.finish()
    assert stream.getvalue().endswith("\r")


def test_elsewhere_a_plain_line_every_few_seconds(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = Progress("pages", stream)
    for done in range(40):
        clock[0] += 0.25
        progress.show(done, 40, " more")
    progress.finish()
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["47%", "97%"]
    assert lines[0].endswith(" more")
    assert "\r" not in stream.getvalue()


def test_rate_is_that_of_the_last_half_minute(clock: list[float]) -> None:
    stream = io.StringIO()
    progress = Progress("pages", stream)
    clock[0] += 5
    progress.show(5_000, 10_000)  # known already, in no time
    for second in range(10):
        clock[0] += 6
        progress.show(5_000 + 12 * (second + 1), 10_000)
    assert "2.0/s" in stream.getvalue().splitlines()[-1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.9, "0s"), (59, "59s"), (67, "1m07s"), (7_500, "2h05m")]
)
def test_durations_show_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_nothing_to_do_is_all_done() -> None:
    assert progress_text(0, 0, 0.0, "pages") == "100%  0/0 pages  0.0/s"
    assert bar_text(0, 0).count("#") == len(bar_text(0, 9)) - 2
