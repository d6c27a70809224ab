"""`logs`: what containers wrote."""

import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.targets import Target, TargetArgument
from colchis.client.http import Client, Refusal
from colchis.errors import ColchisError

POLL = 0.3
"""Seconds between looks for more."""

CHUNK = 2**18
"""Bytes asked for at once."""

TAIL_BYTES = 2**20
"""Bytes before the end in which last lines are looked for."""


def register(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    target: TargetArgument,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Go on with what comes until they end.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("-n", "--tail", help="Only this many last lines.", min=0)
    ] = None,
    connection: ConnectionOption = None,
) -> None:
    """Print what containers wrote; several are told apart by a prefix."""
    with client(connection) as master:
        found = Target.parse(target).containers(master)
        names = [container["container"] for container in found]
        readers = [_Reader(name, len(names) > 1, tail) for name in names]
        if not follow:
            refusals = [reader.refusal for reader in readers if not reader.drain(master)]
            if refusals:
                raise ColchisError("\n".join(map(str, refusals)))
            return
        while readers:
            moved = [reader.advance(master) for reader in readers]
            readers = [reader for reader in readers if not reader.ended]
            if not any(moved):
                time.sleep(POLL)


class _Reader:
    """One container's output from where it was last read."""

    def __init__(self, name: str, prefixed: bool, tail: int | None) -> None:
        self._name = name
        self._prefix = f"{name}: " if prefixed else ""
        self._tail = tail
        self._offset: int | None = None
        self._partial = ""
        self.ended = False
        self.refusal: Refusal | None = None

    def drain(self, master: Client) -> bool:
        """Print what there is now; False where it cannot be had, with ``refusal`` saying why."""
        self._try(lambda: self._begin(master))
        self._finish()
        return self.refusal is None

    def advance(self, master: Client) -> bool:
        """Print what has come, and whether that is anything."""
        before = self._offset
        if before is None:
            self._try(lambda: self._begin(master))
        else:
            self._try(lambda: self._print(self._read(master, before)))
        if self.refusal is not None and self._is_over(master):
            self.ended = True
        if self.ended:
            self._finish()
        return self._offset != before

    def _try(self, step: Callable[[], None]) -> None:
        self.refusal = None
        try:
            step()
        except Refusal as refusal:
            self.refusal = refusal

    def _begin(self, master: Client) -> None:
        """Print what there is at this moment, however much is written meanwhile."""
        end = int(master.logs(self._name, -1, 1)["next_offset"])
        offset = 0 if self._tail is None else max(0, end - TAIL_BYTES)
        kept = ""
        while offset < end:
            text = self._read(master, offset)
            if self._offset == offset:
                break
            offset = self._offset or 0
            if self._tail is None:
                self._print(text)
            else:
                kept += text
        self._offset = offset
        if self._tail is not None:
            lines = kept.splitlines(keepends=True)
            self._print("".join(lines[max(0, len(lines) - self._tail) :]))

    def _read(self, master: Client, offset: int) -> str:
        chunk = master.logs(self._name, offset, CHUNK)
        self._offset = int(chunk["next_offset"])
        self.ended = bool(chunk["ended"])
        return str(chunk["data"])

    def _is_over(self, master: Client) -> bool:
        """Whether a container whose output cannot be had will not have any more."""
        try:
            containers = master.app(self._name.split("/")[0])["containers"]
        except Refusal as refusal:
            return refusal.status == 404
        states: dict[str, str] = {
            container["container"]: container["state"] for container in containers
        }
        return states.get(self._name, "ended") == "ended"

    def _print(self, text: str) -> None:
        """With a prefix only whole lines, for lines of others may come between."""
        if self._prefix:
            *lines, self._partial = (self._partial + text).split("\n")
            text = "".join(f"{self._prefix}{line}\n" for line in lines)
        sys.stdout.write(text)
        sys.stdout.flush()

    def _finish(self) -> None:
        if self._partial:
            self._print("\n")
