"""What happened lately, for those who follow the cluster."""

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import takewhile
from typing import Any

from colchis_master.core.events import Emit

KEPT = 10_000
"""Events that can be asked for again."""


class Feed:
    """Numbered events; ``kept`` are those of former masters, in order."""

    def __init__(self, kept: Iterable[dict[str, Any]]) -> None:
        self._events: deque[dict[str, Any]] = deque(kept, maxlen=KEPT)
        self._next = self._events[-1]["seq"] + 1 if self._events else 1
        self._news = asyncio.Event()

    @property
    def following(self) -> int:
        """The number of the event that comes next."""
        return self._next

    def number(self, happened: Iterable[tuple[Emit, float]]) -> list[dict[str, Any]]:
        """Events, each given with the wall-clock time, and their numbers; nobody sees them yet."""
        numbered = []
        for seq, (emitted, wall) in enumerate(happened, self._next):
            event: dict[str, Any] = {
                "seq": seq,
                "time": wall,
                "event": emitted.event,
                "id": emitted.id,
                "text": emitted.text,
            }
            for name in ("app", "container", "node"):
                if getattr(emitted, name):
                    event[name] = getattr(emitted, name)
            numbered.append(event)
        return numbered

    def publish(self, numbered: list[dict[str, Any]]) -> None:
        """Show events, which are durable by now, and wake those who wait."""
        if numbered:
            self._next = numbered[-1]["seq"] + 1
            self._events.extend(numbered)
            self._news.set()
            self._news = asyncio.Event()

    def since(self, seq: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Up to ``limit`` events numbered ``seq`` or later, and the number to go on from."""
        # From the end, since most of those who ask have had all but the last few.
        later = takewhile(lambda event: event["seq"] >= seq, reversed(self._events))
        found = list(later)[::-1][:limit]
        return found, (found[-1]["seq"] + 1 if found else max(seq, self._next))

    async def wait(self, seq: int) -> None:
        """Return once there is an event numbered ``seq`` or later."""
        while self._next <= seq or not self._events or self._events[-1]["seq"] < seq:
            await self._news.wait()

    def about(self, ident: str) -> list[dict[str, Any]]:
        """Events that speak of an app, container or node, or that one cause led to."""
        return [
            event
            for event in self._events
            if ident in (event["id"], event.get("node"), event.get("container"), event.get("app"))
            or event.get("container", "").startswith(f"{ident}/")
        ]
