"""Which values were read before: Kafka's sink is at-least-once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

#: Identities remembered; repeats follow a restart within a micro-batch or two, some 10,000 predictions.
MAX_REMEMBERED = 100_000


class Repeats:
    """A bounded memory of identities, which forgets those not seen for longest.

    >>> repeats = Repeats(bound=2)
    >>> [repeats.seen(key) for key in "aabcbca"]
    [False, True, False, False, True, True, False]
    """

    def __init__(self, bound: int = MAX_REMEMBERED) -> None:
        self._bound = bound
        self._known: OrderedDict[Hashable, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def seen(self, identity: Hashable) -> bool:
        """Return whether an identity is remembered, and remember it."""
        if identity in self._known:
            self._known.move_to_end(identity)
            return True
        self._known[identity] = None
        if len(self._known) > self._bound:
            self._known.popitem(last=False)
        return False
