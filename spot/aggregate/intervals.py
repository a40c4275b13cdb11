"""Which interval is the fold of which: 1m→5m→15m→30m→1h→2h→4h and 2h→6h→1d.

Every parent folds from exactly one child width, whose intervals tile it; so a change of one child
reaches each coarser candle once, and volume is never counted twice. Starts are UNIX seconds.
"""

from spot.models import Granularity


def _tiles(child: Granularity, parent: Granularity) -> bool:
    return child is not parent and parent.seconds % child.seconds == 0


# Intervals of all widths begin at 1970, so a width that divides another tiles it.
CHILD: dict[Granularity, Granularity] = {
    parent: max(
        (child for child in Granularity if _tiles(child, parent)), key=lambda child: child.seconds
    )
    for parent in list(Granularity)[1:]
}
"""Each width but the finest, fine to coarse, with the width it folds from: the coarsest that tiles it."""

PARENTS: dict[Granularity, tuple[Granularity, ...]] = {
    child: tuple(parent for parent, of in CHILD.items() if of is child) for child in Granularity
}
"""Each width with the widths that fold from it."""


def kept_from(granularity: Granularity, now: int) -> int:
    """Return the first start worth keeping at UNIX second `now`.

    A candle is kept while one of its parents is the open one or the one before, because a late
    correction there must still be folded. A day has no parent: today and yesterday are kept.
    """
    parents = PARENTS[granularity] or (granularity,)
    return min(parent.floor(now) - parent.seconds for parent in parents)


def starts_inside(parent: Granularity, start: int) -> range:
    """Return the starts of the children of `parent`'s interval at `start`, in order."""
    return range(start, start + parent.seconds, CHILD[parent].seconds)
