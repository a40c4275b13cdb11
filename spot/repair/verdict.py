"""What a candle's story comes to, in plain sentences. Pure."""

import enum
from collections.abc import Iterator

import msgspec

from spot.aggregate.audit import VOLUME_TOLERANCE
from spot.models import Coverage, Source, TradeGap
from spot.repair.comparison import differing_fields
from spot.repair.explain import Story
from spot.repair.window import SETTLE_SECONDS

_SOURCES = {
    Source.TRADES: "folded from single trades",
    Source.CANDLES: "the exchange's own five-minute candle, from its channel",
    Source.REST: "the exchange's own settled candle, asked for by REST",
}


class Judgement(enum.StrEnum):
    """What a program wants to know of the verdict."""

    RIGHT = "right"
    WRONG = "wrong"
    UNPROVEN = "unproven"
    OPEN = "open"  # the interval still runs, or has not settled
    MISSING = "missing"
    QUIET = "quiet"  # rightly without a row
    UNKNOWN = "unknown"  # the exchange does not answer


class Verdict(msgspec.Struct, frozen=True):
    """One word for programs, sentences for people."""

    judgement: Judgement
    sentences: tuple[str, ...]


def judge(story: Story) -> Verdict:
    """Return what the story comes to."""
    if story.row is None:
        return _judge_missing(story)
    judgement = _judgement(story)
    sentences = [_headline(story, judgement), *_reasons(story)]
    if judgement is Judgement.WRONG:
        sentences.append(_advice(story))
    elif judgement is Judgement.UNPROVEN and not story.is_held:
        sentences.append("`spot verify --repair` proves it by the exchange's settled candle.")
    return Verdict(judgement, tuple(sentences))


def _judge_missing(story: Story) -> Verdict:
    if not story.is_over:
        return Verdict(Judgement.OPEN, ("The interval still runs, and nothing traded yet.",))
    if not _has_settled(story):
        return Verdict(Judgement.OPEN, ("There is no row yet; the interval has just ended.",))
    if story.exchange_error is not None:
        text = "There is no row, and the exchange does not say whether there should be one."
        return Verdict(Judgement.UNKNOWN, (text,))
    if story.exchange is not None:
        sentences = ["The exchange has a candle here, and the table has none.", *_gaps(story)]
        sentences.append("`spot backfill` or `spot verify --repair` fetches it.")
        return Verdict(Judgement.MISSING, tuple(sentences))
    text = "Nothing traded: the exchange has no candle here either, and none is made up."
    return Verdict(Judgement.QUIET, (text,))


def _judgement(story: Story) -> Judgement:
    if story.row is None:
        raise AssertionError("judged elsewhere")
    if not _has_settled(story):
        return Judgement.OPEN
    if story.exchange_error is not None:
        return Judgement.UNKNOWN
    if story.exchange is None or (story.differences and not _is_near(story)):
        return Judgement.WRONG
    return Judgement.RIGHT if story.row.coverage is Coverage.FULL else Judgement.UNPROVEN


def _has_settled(story: Story) -> bool:
    """Whether the exchange's answer is its last word, or that it has no candle."""
    return story.now >= story.key.end + SETTLE_SECONDS


def _is_near(story: Story) -> bool:
    """Whether a proven row of a coarse width differs by no more than the exchange's own do."""
    row, theirs, children = story.row, story.exchange, story.children
    if row is None or theirs is None or children is None or row.coverage is not Coverage.FULL:
        return False
    folds = children.folds_into_row
    if folds is None:  # no child is stored any more
        folds = row.source is Source.TRADES
    return folds and not differing_fields(row, theirs, VOLUME_TOLERANCE)


def _headline(story: Story, judgement: Judgement) -> str:
    match judgement:
        case Judgement.RIGHT if story.differences:
            return (
                "Right and proven: its prices are the exchange's, and its volume differs from the"
                f" exchange's by less than {VOLUME_TOLERANCE:%}, as the exchange's own widths do."
            )
        case Judgement.RIGHT:
            return "Right and proven: the exchange says the same, to the last digit."
        case Judgement.UNPROVEN:
            return "The numbers are the exchange's, but the row is marked partial: not proven."
        case Judgement.OPEN:
            return "It can still change: the interval runs, or has ended just now."
        case Judgement.UNKNOWN:
            return "The exchange does not answer, so this is what the table knows alone."
        case _:
            if story.exchange is None:
                return "Wrong: the exchange has no candle here."
            fields = ", ".join(difference.field for difference in story.differences)
            return f"Wrong: {fields} differ from what the exchange says now."


def _reasons(story: Story) -> Iterator[str]:
    row = story.row
    if row is None:
        return
    yield f"Its numbers are {_SOURCES[row.source]}."
    if row.coverage is Coverage.FULL and story.first_trade_id is not None:
        yield f"All trades from {story.first_trade_id} to {row.last_trade_id} are in it."
    if story.joins_before is False:
        yield "Its first trade does not follow the last one of the interval before."
    if row.revision:
        times = "once" if row.revision == 1 else f"{row.revision} times"
        yield f"It was corrected {times} after its completion."
    yield from _gaps(story)
    children = story.children
    if children is not None and children.folds_into_row is False:
        yield f"The stored {children.granularity} candles do not fold into it."
    if children is not None and children.partial_starts:
        yield f"{len(children.partial_starts)} of its {children.granularity} candles are partial."


def _gaps(story: Story) -> Iterator[str]:
    for gap in story.gaps:
        yield gap_text(gap)


def gap_text(gap: TradeGap) -> str:
    """Return a gap as a sentence."""
    if not gap.has_end:
        return _open_end_text(gap)
    count = gap.last_id - gap.first_id + 1
    what = f"{count:,} trades, {gap.first_id} to {gap.last_id}, were missed"
    if gap.first_id == 1:
        # The beginning of every market that was followed from some moment on.
        what = f"Trades before {gap.last_id + 1} were not watched"
    if gap.how is None:
        return f"{what}, and are not mended yet."
    return f"{what}, and were mended by {gap.how}."


def _open_end_text(gap: TradeGap) -> str:
    since = f"{gap.after_at:%Y-%m-%d %H:%M:%S} UTC" if gap.after_at else "its beginning"
    if gap.repaired_at is None:
        return f"Since {since} nothing proves that no trade was missed."
    until = f"{gap.repaired_at:%Y-%m-%d %H:%M:%S} UTC"
    return f"From {since} to {until} its feed proved nothing; then it showed what had been traded."


def _advice(story: Story) -> str:
    if story.is_held:
        return "A running shard still holds this interval: it is not for repair from outside yet."
    return (
        f"To mend it: spot verify --products {story.key.product_id}"
        f" --granularity {story.key.granularity.short} --start {story.key.start}"
        f" --end {story.key.end} --repair"
    )
