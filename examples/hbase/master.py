"""Gives regions to region servers, keeps the load even, and tells clients where a key is served.

The master keeps nothing on disk: after a restart it learns from the region servers what they hold.
"""

import argparse
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hb_discovery import Backoff, Endpoint, Lookup, LookupFailedError
from hb_regions import Step, plan_steps, settle, split_keyspace
from hb_wire import Connection, Message, RefusedError, Server, end_on_sigterm

GROUP = "region-server"
# A server in one of these states has its memory, and so its rows, even if it does not answer.
KEEPS_DATA = {"running", "suspending", "suspended", "resuming", "frozen"}
HELLO_SECONDS = 2.0
# How long a new master waits to hear from servers that may hold regions from before its start.
GRACE_SECONDS = 5.0


class Master:
    """Which server owns which region. One thread changes it, any number answer from it."""

    def __init__(self, lookup: Lookup, region_count: int) -> None:
        self._lookup = lookup
        self._regions = split_keyspace(region_count)
        self._lock = threading.Lock()
        self._owners: dict[int, str] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._rows: dict[str, dict[int, int]] = {}
        self._silent: set[str] = set()
        self._started = time.monotonic()

    def handle(self, request: Message, _payload: bytes = b"") -> tuple[Message, bytes]:
        """The answer to a client's ``locate`` or ``status``."""
        with self._lock:
            if request["op"] == "locate":
                return self._locate(), b""
            if request["op"] == "status":
                return self._status(), b""
        raise RefusedError("bad-request", f"no operation {request['op']!r}")

    def _locate(self) -> Message:
        located = []
        for region in self._regions:
            endpoint = self._endpoints.get(self._owners.get(region.number, ""))
            if endpoint is not None:
                located.append(
                    {
                        "region": region.number,
                        "start": region.start,
                        "end": region.end,
                        "container": endpoint.container,
                        "host": endpoint.host,
                        "port": endpoint.port,
                    }
                )
        return {"regions": located, "complete": len(located) == len(self._regions)}

    def _status(self) -> Message:
        return {
            "regions": len(self._regions),
            "assigned": len(self._owners),
            "servers": [
                {
                    "container": name,
                    "responding": name not in self._silent,
                    "regions": sorted(r for r, owner in self._owners.items() if owner == name),
                    "rows": sum(self._rows.get(name, {}).values()),
                }
                for name in sorted(self._endpoints)
            ],
        }

    def look_around(self) -> bool:
        """Ask who is there and act on it; True if anything had to be done. LookupFailedError."""
        listed = {e.container: e for e in self._lookup.endpoints() if e.group == GROUP}
        rows = self._greet(listed)
        silent = {n for n, e in listed.items() if n not in rows and e.state in KEEPS_DATA}
        reports = {name: set(held) for name, held in rows.items()}
        with self._lock:
            self._endpoints = {n: e for n, e in listed.items() if n in rows or n in silent}
            self._rows = rows
            self._silent = silent
            self._owners = settle(len(self._regions), self._owners, reports, silent)
            unheard = silent - set(self._owners.values())
            steps = plan_steps(len(self._regions), self._owners, reports)
        if unheard and time.monotonic() - self._started < GRACE_SECONDS:
            return True
        for step in steps:
            self._carry_out(step)
        return bool(steps)

    def _greet(self, listed: dict[str, Endpoint]) -> dict[str, dict[int, int]]:
        def hello(endpoint: Endpoint) -> dict[int, int] | None:
            try:
                with Connection(endpoint.host, endpoint.port, HELLO_SECONDS) as connection:
                    reply, _ = connection.call("hello")
                # Another container may by now listen where this one did.
                if reply["container"] != endpoint.container:
                    return None
                return {int(number): int(count) for number, count in reply["regions"].items()}
            except (OSError, ValueError, KeyError, RefusedError):
                return None

        if not listed:
            return {}
        with ThreadPoolExecutor(max_workers=min(32, len(listed))) as pool:
            answers = dict(zip(listed, pool.map(hello, listed.values()), strict=True))
        return {name: held for name, held in answers.items() if held is not None}

    def _carry_out(self, step: Step) -> None:
        """Do one step; a failed one shows in the next round's reports and is planned again."""
        region = self._regions[step.region]
        target = self._endpoints[step.target]
        asked = self._endpoints[step.source] if step.source else target
        fields: Message = {"region": region.number, "start": region.start, "end": region.end}
        if step.kind == "move":
            fields = {"region": region.number, "host": target.host, "port": target.port}
        try:
            with Connection(asked.host, asked.port) as connection:
                connection.call(step.kind, **fields)
        except (OSError, ValueError, RefusedError) as error:
            print(f"{step.kind} region {region.number}: {error}", flush=True)
            return
        if step.kind != "close":
            with self._lock:
                self._owners[region.number] = step.target
        origin = f" from {step.source}" if step.source else ""
        print(f"{step.kind} region {region.number} at {step.target}{origin}", flush=True)

    def watch(self, interval: float) -> None:
        """Look around for ever, every ``interval`` seconds, sooner while things change."""
        backoff = Backoff(first=0.1, longest=max(0.1, interval))
        while True:
            try:
                if self.look_around():
                    backoff.reset()
            except LookupFailedError as error:
                print(f"lookup failed: {error}", flush=True)
            backoff.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("COLCHIS_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("COLCHIS_PORT", "0")))
    parser.add_argument("--regions", type=int, default=12, help="regions in the table")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two looks")
    options = parser.parse_args()
    end_on_sigterm()
    master = Master(Lookup.from_environment(), options.regions)
    threading.Thread(target=master.watch, args=(options.interval,), daemon=True).start()
    with Server(options.host, options.port, master.handle) as server:
        print(f"master listens on {options.host}:{server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
