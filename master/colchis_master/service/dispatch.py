"""Carrying out what waits for nothing more."""

from collections import deque
from collections.abc import Callable, Sequence

from colchis_master.core.events import Instruction, Send

AT_ONCE = 20
"""Instructions that are carried out in one turn of the loop where no task waits for them."""


class Dispatch:
    """Carries out at once what a task waits for, and the rest in order, some in each turn.

    Nothing overtakes what goes to the same agent. ``later`` calls a function when there is time.
    """

    def __init__(
        self,
        carry_out: Callable[[Instruction], None],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._carry_out = carry_out
        self._later = later
        self._left: deque[Instruction] = deque()
        self._due = False

    @property
    def idle(self) -> bool:
        """Whether all is carried out."""
        return not self._left

    def put(self, instructions: Sequence[Instruction], *, now: bool) -> None:
        """To be carried out, ``now`` or when there is time."""
        if not now:
            self._left.extend(instructions)
            self._go_on()
            return
        links = {one.link for one in instructions if isinstance(one, Send)}
        first: list[Instruction] = []
        if links and self._left:
            left, self._left = self._left, deque()
            for one in left:
                same = isinstance(one, Send) and one.link in links
                (first if same else self._left).append(one)
        for one in (*first, *instructions):
            self._carry_out(one)

    def finish(self) -> None:
        """Carry out all that is left."""
        while self._left:
            self._carry_out(self._left.popleft())

    def _go_on(self) -> None:
        if self._left and not self._due:
            self._due = True
            self._later(self._some)

    def _some(self) -> None:
        self._due = False
        for _ in range(min(AT_ONCE, len(self._left))):
            self._carry_out(self._left.popleft())
        self._go_on()
