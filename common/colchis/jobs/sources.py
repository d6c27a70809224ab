"""Where a stream's records come from.

A source is asked for what has come since it was last asked, and never waits.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from colchis.errors import ColchisError


class Source(Protocol):
    """Gives records as they come."""

    def open(self) -> None:
        """Begin; what came before is no part of the stream unless the source keeps it."""

    def take(self) -> list[Any]:
        """What has come since. Raises ColchisError where the source is broken."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing will come any more."""

    def close(self) -> None:
        """End."""


class Folder:
    """The files of a folder, each once, by name: records are their paths.

    A writer makes a file under a name with a leading dot and renames it when it is whole.
    """

    def __init__(self, path: Path | str, pattern: str = "*") -> None:
        self._path = Path(path)
        self._pattern = pattern
        self._seen: set[str] = set()
        self.exhausted = False

    def open(self) -> None:
        if not self._path.is_dir():
            raise ColchisError(f"{self._path} is no folder")

    def take(self) -> list[Any]:
        try:
            names = {p.name for p in self._path.glob(self._pattern) if p.name[0] != "."}
        except OSError as error:
            raise ColchisError(f"{self._path}: {error}") from error
        new = sorted(names - self._seen)
        # Names that are gone may be used again.
        self._seen = names
        return [self._path / name for name in new]

    def close(self) -> None:
        return


class Generator:
    """The items of an iterable, so many per second; as fast as they are taken without a rate.

    ``most`` bounds what is taken at once.
    """

    def __init__(
        self, items: Iterable[Any], rate: float | None = None, *, most: int = 1_000_000
    ) -> None:
        if rate is not None and rate <= 0:
            raise ValueError("rate must be more than 0 per second")
        self._items: Iterator[Any] = iter(items)
        self._rate = rate
        self._most = most
        self._began = 0.0
        self._given = 0
        self.exhausted = False

    def open(self) -> None:
        self._began = time.monotonic()

    def take(self) -> list[Any]:
        due = self._most
        if self._rate is not None:
            passed = time.monotonic() - self._began
            due = min(due, int(passed * self._rate) - self._given)
        taken = []
        for _ in range(due):
            try:
                taken.append(next(self._items))
            except StopIteration:
                self.exhausted = True
                break
        self._given += len(taken)
        return taken

    def close(self) -> None:
        return


class Mqtt:
    """The messages of an MQTT topic: records are ``(topic, payload)``.

    Needs the extra ``mqtt``. Beyond ``most`` messages not yet taken the oldest go; ``dropped``
    counts them. A broker that is lost is connected to again every ``again`` seconds.
    """

    def __init__(
        self,
        topic: str,
        host: str = "127.0.0.1",
        port: int = 1883,
        *,
        most: int = 100_000,
        again: float = 1.0,
        **settings: Any,
    ) -> None:
        self._topic = topic
        self._host = host
        self._port = port
        self._settings = settings
        self._again = again
        self._arrived: deque[tuple[str, bytes]] = deque(maxlen=most)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._running = threading.Event()
        self._news = threading.Event()
        """Subscribed, or broken."""
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self.dropped = 0
        self.exhausted = False

    def open(self, timeout: float = 30.0) -> None:
        try:
            import aiomqtt  # noqa: F401 - only to say early and clearly that it is missing
        except ImportError:
            raise ColchisError("MQTT sources need the extra: pip install 'colchis[mqtt]'") from None
        self._thread = threading.Thread(target=self._run, name="colchis-mqtt", daemon=True)
        self._thread.start()
        try:
            if not self._news.wait(timeout):
                raise ColchisError(f"no MQTT broker answers at {self._host}:{self._port}")
            self._check()
        except BaseException:
            self.close()
            raise

    def take(self) -> list[Any]:
        taken = []
        while self._arrived:
            taken.append(self._arrived.popleft())
        if not taken:
            self._check()
        return taken

    def close(self) -> None:
        if self._thread is None:
            return
        self._running.wait()
        if self._loop is not None and self._task is not None:
            # Where it has ended by itself its loop is closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join()

    def _check(self) -> None:
        if self._error is not None:
            what = f"{type(self._error).__name__}: {self._error}"
            raise ColchisError(f"MQTT source {self._topic}: {what}") from self._error

    def _run(self) -> None:
        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.ensure_future(self._listen())
            self._running.set()
            try:
                await self._task
            except asyncio.CancelledError:
                return

        try:
            asyncio.run(main())
        except Exception as error:
            # Whoever takes is told: nothing will come any more.
            self._error = error
            self._running.set()
            self._news.set()

    async def _listen(self) -> None:
        import aiomqtt

        while True:
            try:
                async with aiomqtt.Client(self._host, self._port, **self._settings) as client:
                    await client.subscribe(self._topic)
                    self._news.set()
                    async for message in client.messages:
                        if len(self._arrived) == self._arrived.maxlen:
                            self.dropped += 1
                        payload = message.payload
                        data = payload if isinstance(payload, bytes) else str(payload).encode()
                        self._arrived.append((str(message.topic), data))
            except aiomqtt.MqttError:
                await asyncio.sleep(self._again)
