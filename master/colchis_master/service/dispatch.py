"""Carrying out what waits for nothing more."""

from collections import Counter, deque
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
        self._links: Counter[str] = Counter()
        """How many of those left go to each agent."""
        self._due = False

    @property
    def idle(self) -> bool:
        """Whether all is carried out."""
        return not self._left

    def put(self, instructions: Sequence[Instruction], *, now: bool) -> None:
        """To be carried out, ``now`` or when there is time."""
        if now:
            for link in {one.link for one in instructions if isinstance(one, Send)}:
                self.hasten(link)
            for one in instructions:
                self._carry_out(one)
            return
        self._left.extend(instructions)
        self._links.update(one.link for one in instructions if isinstance(one, Send))
        self._go_on()

    def hasten(self, link: str) -> None:
        """Send what is left for an agent."""
        if not self._links.pop(link, 0):
            return
        left, self._left = self._left, deque()
        for one in left:
            if isinstance(one, Send) and one.link == link:
                self._carry_out(one)
            else:
                self._left.append(one)

    def finish(self) -> None:
        """Carry out all that is left."""
        while self._left:
            self._carry_next()

    def _go_on(self) -> None:
        if self._left and not self._due:
            self._due = True
            self._later(self._some)

    def _some(self) -> None:
        self._due = False
        for _ in range(min(AT_ONCE, len(self._left))):
            self._carry_next()
        self._go_on()

    def _carry_next(self) -> None:
        one = self._left.popleft()
        if isinstance(one, Send):
            self._links[one.link] -= 1
            if not self._links[one.link]:
                del self._links[one.link]
        self._carry_out(one)
