"""What the job service knows of its executors and clients."""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import Struct, field

from colchis.wire.tasks import DropFunction, Function, Heartbeat, ToExecutor

FUNCTIONS_KEPT = 256
"""Functions that an executor keeps; beyond them the one longest unused is dropped."""


class Executor(Struct):
    """One executor that has registered. ``heard`` is monotonic, in seconds."""

    name: str
    incarnation: str
    node: str
    cores: int
    memory: int
    address: str
    heard: float
    pulse: Heartbeat = field(default_factory=lambda: Heartbeat(memory=0.0, spilled=0, gc=0.0))
    attempts: set[int] = set()
    kept: list[int] = []
    """Attempts of earlier epochs, under way or done, that were wanted when it came."""
    _functions: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _in_use: dict[str, int] = {}

    def begin(self, attempt: int, digest: str, data: bytes) -> Iterator[ToExecutor]:
        """Note that an attempt uses a function; what has to be sent before its launch."""
        self.go_on(attempt, digest)
        if digest in self._functions:
            self._functions.move_to_end(digest)
            return
        self._functions[digest] = None
        yield Function(digest, data)
        if len(self._functions) > FUNCTIONS_KEPT:
            unused = next((one for one in self._functions if one not in self._in_use), None)
            if unused is not None:
                del self._functions[unused]
                yield DropFunction(unused)

    def go_on(self, attempt: int, digest: str) -> None:
        """It has been at the attempt since before we knew it, and has what it needs for that."""
        self.attempts.add(attempt)
        self._in_use[digest] = self._in_use.get(digest, 0) + 1

    def end(self, attempt: int, digest: str) -> None:
        """The attempt is over."""
        self.attempts.discard(attempt)
        left = self._in_use.pop(digest) - 1
        if left:
            self._in_use[digest] = left


class Client(Struct):
    """One client; ``heard`` is monotonic, in seconds."""

    name: str
    heard: float
    jobs: set[str] = set()
    functions: set[str] = set()


class Functions:
    """Pickled functions, kept while a client may name them or a job uses them."""

    def __init__(self) -> None:
        self._data: dict[str, bytes] = {}
        self._users: dict[str, set[str]] = {}
        self._paces: dict[str, float] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._data

    def __getitem__(self, digest: str) -> bytes:
        return self._data[digest]

    def took(self, digest: str, seconds: float) -> None:
        """Learn from one task that ran the function, or the mean of several."""
        if digest in self._data:
            pace = 0.8 * self._paces.get(digest, 0.0) + 0.2 * seconds
            self._paces[digest] = max(seconds, pace, 1e-6)

    def pace(self, digest: str) -> float:
        """Seconds that its tasks take lately, rather too much than too little; 0 is unknown."""
        return self._paces.get(digest, 0.0)

    def add(self, digest: str, data: bytes, user: str) -> None:
        """Keep a function for a user (a client's or a job's name)."""
        self._data.setdefault(digest, data)
        self.use(digest, user)

    def use(self, digest: str, user: str) -> None:
        """Keep it for one more user."""
        self._users.setdefault(digest, set()).add(user)

    def drop(self, digest: str, user: str) -> None:
        """The user does not need it any more."""
        users = self._users.get(digest)
        if users is None:
            return
        users.discard(user)
        if not users:
            del self._users[digest]
            del self._data[digest]
            self._paces.pop(digest, None)
