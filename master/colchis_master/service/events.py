"""The stream of what happened, for people and programs that follow the cluster."""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from colchis_master.core.events import Emit

KEPT = 20_000


class EventLog:
    """The last events, numbered from ``next_seq`` on."""

    def __init__(self, next_seq: int, former: Iterable[Mapping[str, Any]] = ()) -> None:
        self._next = next_seq
        self._kept: deque[Mapping[str, Any]] = deque(former, maxlen=KEPT)
        self._news = asyncio.Condition()

    def number(self, emits: Iterable[Emit], wall: float) -> list[dict[str, Any]]:
        """Give events their numbers and time; they are not seen by anyone yet."""
        numbered = []
        for emit in emits:
            numbered.append(
                {
                    "seq": self._next,
                    "time": wall,
                    "event": emit.event,
                    "id": emit.id,
                    "app": emit.app,
                    "container": emit.container,
                    "node": emit.node,
                    "text": emit.text,
                }
            )
            self._next += 1
        return numbered

    async def publish(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Show them, now that they are durable."""
        self._kept.extend(events)
        async with self._news:
            self._news.notify_all()

    def since(self, seq: int, limit: int) -> dict[str, Any]:
        """Events numbered ``seq`` or later, and where to go on."""
        first = self._kept[0]["seq"] if self._kept else self._next
        start = max(0, seq - first)
        found = list(itertools.islice(self._kept, start, start + limit))
        following = found[-1]["seq"] + 1 if found else max(seq, self._last + 1)
        return {"events": found, "next": following}

    @property
    def _last(self) -> int:
        return int(self._kept[-1]["seq"]) if self._kept else self._next - 1

    async def wait(self, seq: int) -> None:
        """Return once there is an event numbered ``seq`` or later."""
        async with self._news:
            await self._news.wait_for(lambda: self._last >= seq and bool(self._kept))

    def about(self, ident: str) -> list[dict[str, Any]]:
        """What concerns an app, a container, a node, or came of one event of the core."""
        return [
            {"time": event["time"], "text": event["text"], "id": event["id"]}
            for event in self._kept
            if ident in (event["id"], event["app"], event["container"], event["node"])
        ]
