"""Serves the regions that the master gives it: get, put, scan and read-modify-write over TCP."""

import argparse
import os
import threading
from dataclasses import dataclass, field

from hb_regions import Region
from hb_store import Fields, SortedStore
from hb_wire import Connection, Message, RefusedError, Server, end_on_sigterm

TRANSFER_ROWS = 500
MAX_SCAN = 10_000


@dataclass
class Hosted:
    """A region here. While it is ``moving`` it answers nothing, so that no write is lost."""

    region: Region
    store: SortedStore = field(default_factory=SortedStore)
    moving: bool = False


def _fields(value: object) -> Fields:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ValueError("fields is an object of strings")
    return value


def _region(message: Message) -> Region:
    end = message["end"]
    return Region(int(message["region"]), str(message["start"]), None if end is None else str(end))


class RegionServer:
    """The state of one server. Every operation is atomic: one lock, held for microseconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._hosted: dict[int, Hosted] = {}
        self._arriving: dict[int, Hosted] = {}
        self._operations = {
            "hello": self._hello,
            "open": self._open,
            "close": self._close,
            "receive": self._receive,
            "get": self._get,
            "put": self._put,
            "check_and_put": self._check_and_put,
            "scan": self._scan,
            "truncate": self._truncate,
        }

    def handle(self, request: Message, _payload: bytes = b"") -> tuple[Message, bytes]:
        """The answer to one request. Raises RefusedError; KeyError etc. when it is malformed."""
        if request["op"] == "move":
            # Talks to another server, so it takes the lock only for parts of its work.
            return self._move(int(request["region"]), request["host"], int(request["port"])), b""
        operation = self._operations.get(request["op"])
        if operation is None:
            raise RefusedError("bad-request", f"no operation {request['op']!r}")
        with self._lock:
            return operation(request), b""

    def _find(self, key: str) -> Hosted:
        for hosted in self._hosted.values():
            if hosted.region.holds(key):
                if hosted.moving:
                    raise RefusedError("moving", key)
                return hosted
        raise RefusedError("not-here", key)

    def _hello(self, _request: Message) -> Message:
        return {
            "container": self.name,
            "regions": {str(number): len(h.store) for number, h in self._hosted.items()},
        }

    def _open(self, request: Message) -> Message:
        region = _region(request)
        self._hosted.setdefault(region.number, Hosted(region))
        return {}

    def _close(self, request: Message) -> Message:
        self._hosted.pop(int(request["region"]), None)
        return {}

    def _receive(self, request: Message) -> Message:
        region = _region(request)
        if request["first"]:
            self._arriving[region.number] = Hosted(region)
        arriving = self._arriving[region.number]
        for key, version, fields in request["rows"]:
            arriving.store.restore(str(key), int(version), _fields(fields))
        if request["last"]:
            self._hosted[region.number] = self._arriving.pop(region.number)
        return {}

    def _move(self, number: int, host: str, port: int) -> Message:
        with self._lock:
            hosted = self._hosted.get(number)
            if hosted is None or hosted.moving:
                raise RefusedError("not-here", f"region {number}")
            hosted.moving = True
        try:
            self._send(hosted, host, port)
        except (OSError, RefusedError, ValueError) as error:
            hosted.moving = False
            raise RefusedError("move-failed", str(error)) from error
        with self._lock:
            self._hosted.pop(number, None)
        return {}

    def _send(self, hosted: Hosted, host: str, port: int) -> None:
        region = hosted.region
        rows = [(k, r.version, r.fields) for k, r in hosted.store.scan("", len(hosted.store))]
        with Connection(host, port) as target:
            for at in range(0, max(1, len(rows)), TRANSFER_ROWS):
                target.call(
                    "receive",
                    region=region.number,
                    start=region.start,
                    end=region.end,
                    rows=rows[at : at + TRANSFER_ROWS],
                    first=at == 0,
                    last=at + TRANSFER_ROWS >= len(rows),
                )

    def _get(self, request: Message) -> Message:
        row = self._find(str(request["key"])).store.get(str(request["key"]))
        if row is None:
            return {"found": False, "version": 0, "fields": {}}
        # Copied, for the reply is written after the lock is given back.
        return {"found": True, "version": row.version, "fields": dict(row.fields)}

    def _put(self, request: Message) -> Message:
        key = str(request["key"])
        return {"version": self._find(key).store.put(key, _fields(request["fields"]))}

    def _check_and_put(self, request: Message) -> Message:
        """Write only if the row still has the version that was read (0: it did not exist)."""
        key = str(request["key"])
        store = self._find(key).store
        row = store.get(key)
        if (row.version if row else 0) != int(request["version"]):
            raise RefusedError("changed", key)
        return {"version": store.put(key, _fields(request["fields"]))}

    def _scan(self, request: Message) -> Message:
        """Rows of the region that holds ``start``; ``next`` is where to go on, if anywhere."""
        start = str(request["start"])
        limit = min(int(request["limit"]), MAX_SCAN)
        hosted = self._find(start)
        rows = hosted.store.scan(start, limit)
        return {
            "rows": [[key, row.version, dict(row.fields)] for key, row in rows],
            "next": hosted.region.end if len(rows) < limit else None,
        }

    def _truncate(self, _request: Message) -> Message:
        if any(hosted.moving for hosted in self._hosted.values()):
            raise RefusedError("moving")
        for hosted in self._hosted.values():
            hosted.store.clear()
        return {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("COLCHIS_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("COLCHIS_PORT", "0")))
    options = parser.parse_args()
    end_on_sigterm()
    region_server = RegionServer(os.environ.get("COLCHIS_CONTAINER", "hbase/region-server/0"))
    with Server(options.host, options.port, region_server.handle) as server:
        print(
            f"{region_server.name} listens on {options.host}:{server.server_address[1]}", flush=True
        )
        server.serve_forever()


if __name__ == "__main__":
    main()
