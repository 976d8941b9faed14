"""Exchanges that ended, until the engine says that it has them: should it die, the next one is told."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from kimi_mitm import link

KEEP_BYTES = 3 * 1024 * 1024
KEEP_COUNT = 512
MOST_TOLD = 2
"""How often an exchange is told again that was the first one unsettled at an engine's death. Engines work in
order, so it is the likely cause of a death; the others are innocent."""

type Story = Sequence[tuple[link.Upward, Sequence[bytes]]]


class Recent:
    """The last exchanges' frames, bounded in bytes and number; the oldest go first."""

    def __init__(self) -> None:
        self._stories: OrderedDict[str, tuple[Story, int]] = OrderedDict()
        self._suspected = ("", 0)
        self._size = 0

    @property
    def size(self) -> int:
        """Payload bytes kept."""
        return self._size

    def keep(self, flow_id: str, story: Story) -> None:
        """An exchange of this flow has ended; one of the same flow before it is forgotten."""
        self.settled(flow_id)
        size = sum(len(piece) for _, payload in story for piece in payload)
        if size > KEEP_BYTES:
            return
        self._stories[flow_id] = story, size
        self._size += size
        while self._size > KEEP_BYTES or len(self._stories) > KEEP_COUNT:
            self.settled(next(iter(self._stories)))

    def settled(self, flow_id: str) -> None:
        """The engine has recorded it."""
        _, size = self._stories.pop(flow_id, ((), 0))
        self._size -= size

    def stories(self) -> list[Story]:
        """What is kept, oldest first."""
        return [story for story, _ in self._stories.values()]

    def tell(self) -> list[Story]:
        """The same, to be told; the oldest is forgotten if it was that at too many deaths in a row."""
        first = next(iter(self._stories), "")
        suspected, times = self._suspected
        times = times + 1 if first == suspected else 1
        self._suspected = first, times
        if times > MOST_TOLD:
            self.settled(first)
        return self.stories()
