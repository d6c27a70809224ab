"""HiGHS in a process of its own, which is ended when its time is over.

Within this process HiGHS could not be stopped where it does not look at the clock: in its presolve
it may not for minutes. The child is a fresh interpreter; both ends send pickles with their length
before them, over pipes that nobody else can reach.
"""

import contextlib
import os
import pickle
import selectors
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from colchis_master.lra.highs import Answer, Ask, Program, SolverFailedError

COMMAND: Sequence[str] = (sys.executable, "-m", "colchis_master.lra.highs_child")
LENGTH = struct.Struct("!Q")
POLL = 0.05
"""Seconds after which the clock is looked at again."""
_CHUNK = 1 << 16


class Apart:
    """One child with one program. Not for use by several threads."""

    def __init__(self, clock: Callable[[], float], command: Sequence[str] | None = None) -> None:
        self._clock = clock
        self._child = subprocess.Popen(
            COMMAND if command is None else command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._child.stdin is not None
        os.set_blocking(self._child.stdin.fileno(), False)
        self._to_send = b""

    @property
    def pid(self) -> int:
        return self._child.pid

    def load(self, program: Program) -> None:
        """The program of all that is asked from now on."""
        self._to_send = packed(program)

    def minimise(self, ask: Ask, end: float) -> Answer | None:
        """The child's answer; None where it found nothing, or did not answer until ``end``, and
        then it is ended. Raises what ``highs.minimise`` raises, and SolverFailedError where the
        child ends by itself."""
        data, self._to_send = self._to_send + packed((time.monotonic(), ask)), b""
        try:
            answer = self._exchange(data, end)
        except (OSError, EOFError) as error:
            self._child.wait()
            code = self._child.returncode
            raise SolverFailedError(f"HiGHS ended with exit code {code}") from error
        if isinstance(answer, Exception):
            raise answer
        assert answer is None or isinstance(answer, Answer)
        return answer

    def _exchange(self, data: bytes, end: float) -> object:
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        left = memoryview(data)
        got = bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(child.stdin, selectors.EVENT_WRITE)
            selector.register(child.stdout, selectors.EVENT_READ)
            while self._clock() <= end:
                for key, events in selector.select(POLL):
                    if events & selectors.EVENT_WRITE:
                        left = left[os.write(key.fd, left[:_CHUNK]) :]
                        if not left:
                            selector.unregister(child.stdin)
                        continue
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        raise EOFError
                    got += chunk
                if len(got) >= LENGTH.size:
                    (length,) = LENGTH.unpack_from(got)
                    if len(got) >= LENGTH.size + length:
                        return pickle.loads(got[LENGTH.size :])  # noqa: S301 - our own child
        self.close()
        return None

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def packed(what: Program | tuple[float, Ask]) -> bytes:
    """A message: a program, or what is asked and when, for its seconds run from then."""
    data = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(data)) + data
