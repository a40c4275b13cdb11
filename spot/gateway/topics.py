"""All topics, and which of them a change belongs to: one look-up per change, however many streams."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spot.gateway.conflation import StreamKey
from spot.gateway.topic import Subscription, Topic

if TYPE_CHECKING:
    from spot.models import Granularity


class Topics:
    """Every topic that has streams; iterating yields them."""

    def __init__(self) -> None:
        self._topics: dict[Subscription, Topic] = {}
        self._by_key: dict[StreamKey, dict[Topic, None]] = {}
        self._by_granularity: dict[Granularity, dict[Topic, None]] = {}

    def __iter__(self) -> Iterator[Topic]:
        return iter(self._topics.values())

    def of(self, key: StreamKey) -> Iterator[Topic]:
        """Yield the topics that changes of `key` belong to."""
        yield from self._by_key.get(key, ())
        yield from self._by_granularity.get(key[1], ())

    def get(self, subscription: Subscription) -> Topic:
        """Return the topic of this subscription, made at its first stream."""
        topic = self._topics.get(subscription)
        if topic is None:
            topic = self._topics[subscription] = Topic(subscription)
            for index in self._indices(subscription):
                index[topic] = None
        return topic

    def drop(self, topic: Topic) -> None:
        """Forget a topic that has no streams any more."""
        subscription = topic.subscription
        del self._topics[subscription]
        for index in self._indices(subscription):
            del index[topic]
        for product_id in subscription.products or ():
            for granularity in subscription.granularities:
                if not self._by_key[product_id, granularity]:
                    del self._by_key[product_id, granularity]

    def _indices(self, subscription: Subscription) -> Iterator[dict[Topic, None]]:
        for granularity in subscription.granularities:
            if subscription.products is None:
                yield self._by_granularity.setdefault(granularity, {})
            else:
                for product_id in subscription.products:
                    yield self._by_key.setdefault((product_id, granularity), {})
