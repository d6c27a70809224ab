"""A client of the table: finds the server of a key and follows regions when they move."""

import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from hb_discovery import Backoff, Lookup
from hb_regions import Region
from hb_store import Fields
from hb_wire import Connection, Message, Peer, RefusedError, UnreachableError

ELSEWHERE = {"not-here", "moving"}


class Table:
    """Operations on rows, each repeated until it is done or ``timeout`` seconds have passed.

    An instance belongs to one thread. Every operation raises UnreachableError at its deadline.
    """

    def __init__(self, lookup: Lookup, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._master = Peer(lookup, "master")
        self._regions: list[Region] = []
        self._starts: list[str] = []
        self._addresses: list[tuple[str, int]] = []
        self._connections: dict[tuple[str, int], Connection] = {}

    def close(self) -> None:
        self._master.close()
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def get(self, key: str) -> tuple[int, Fields] | None:
        """The row's version and fields, or None."""
        reply = self._at(key, "get", key=key)
        return (int(reply["version"]), reply["fields"]) if reply["found"] else None

    def put(self, key: str, fields: Fields) -> None:
        self._at(key, "put", key=key, fields=fields)

    def read_modify_write(self, key: str, modify: Callable[[Fields], Fields]) -> bool:
        """Write what ``modify`` makes of the row, atomically; False if there is no such row."""
        while (row := self.get(key)) is not None:
            version, fields = row
            try:
                self._at(key, "check_and_put", key=key, version=version, fields=modify(fields))
            except RefusedError as refusal:
                if refusal.code != "changed":
                    raise
                continue
            return True
        return False

    def scan(self, start: str, limit: int) -> list[tuple[str, Fields]]:
        """At most ``limit`` rows from ``start`` on, in key order, across regions."""
        rows: list[tuple[str, Fields]] = []
        at: str | None = start
        while at is not None and len(rows) < limit:
            reply = self._at(at, "scan", start=at, limit=limit - len(rows))
            rows += [(key, fields) for key, _version, fields in reply["rows"]]
            at = reply["next"]
        return rows

    def truncate(self) -> None:
        """Empty the whole table."""
        self._refresh(self._deadline())
        one_start_per_server = dict(zip(self._addresses, self._starts, strict=True))
        for start in one_start_per_server.values():
            self._at(start, "truncate")

    def status(self) -> Message:
        """What the master says of its servers."""
        return self._master.call("status", within=self._timeout)[0]

    def wait_until_complete(self) -> None:
        """Return once every region is served."""
        self._refresh(self._deadline())

    def _deadline(self) -> float:
        return time.monotonic() + self._timeout

    def _refresh(self, deadline: float) -> None:
        backoff = Backoff()
        while True:
            left = max(0.1, deadline - time.monotonic())
            reply, _ = self._master.call("locate", within=left)
            if reply["complete"]:
                break
            if time.monotonic() >= deadline:
                raise UnreachableError(f"{self._master.name}: some regions are served by nobody")
            backoff.wait()
        located = sorted(reply["regions"], key=lambda entry: str(entry["start"]))
        self._regions = [Region(e["region"], e["start"], e["end"]) for e in located]
        self._starts = [region.start for region in self._regions]
        self._addresses = [(e["host"], e["port"]) for e in located]

    def _connect(self, address: tuple[str, int]) -> Connection:
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = Connection(*address)
        return connection

    def _at(self, row: str, op: str, **fields: Any) -> Message:
        """Ask the server of key ``row``."""
        deadline = self._deadline()
        backoff = Backoff()
        if not self._regions:
            self._refresh(deadline)
        while True:
            address = self._addresses[bisect_right(self._starts, row) - 1]
            try:
                return self._connect(address).call(op, **fields)[0]
            except RefusedError as refusal:
                if refusal.code not in ELSEWHERE:
                    raise
                reason = str(refusal)
            except (OSError, ValueError) as error:
                broken = self._connections.pop(address, None)
                if broken is not None:
                    broken.close()
                reason = str(error)
            if time.monotonic() >= deadline:
                raise UnreachableError(f"{address[0]}:{address[1]}: {reason}")
            backoff.wait()
            self._refresh(deadline)
