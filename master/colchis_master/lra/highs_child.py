"""The child of ``colchis_master.lra.apart``: programs and what is asked of them in, answers out."""

import os
import pickle
import signal
import sys
import time
from dataclasses import replace
from typing import IO

from colchis.jobs.urgency import die_with_parent
from colchis_master.lra.apart import LENGTH
from colchis_master.lra.highs import Answer, Program, SolverFailedError, minimise


def serve(asked: IO[bytes], answers: IO[bytes]) -> None:
    """Answer until the other end is closed."""
    program: Program | None = None
    while len(head := asked.read(LENGTH.size)) == LENGTH.size:
        (length,) = LENGTH.unpack(head)
        what = pickle.loads(asked.read(length))  # noqa: S301 - from our own parent
        if isinstance(what, Program):
            program = what
            continue
        assert program is not None
        asked_at, ask = what
        left = max(0.0, ask.seconds - (time.monotonic() - asked_at))
        answer: Answer | SolverFailedError | None
        try:
            answer = minimise(program, replace(ask, seconds=left), time.monotonic)
        except SolverFailedError as error:
            answer = error
        data = pickle.dumps(answer)
        answers.write(LENGTH.pack(len(data)) + data)
        answers.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # HiGHS does not notice that nobody waits for it any more.
    die_with_parent(os.getppid())
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
