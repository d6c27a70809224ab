"""A model of an agent that keeps the message contract, however badly the network treats it."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from colchis.wire.messages import (
    PROTOCOL,
    Confirm,
    ContainerReport,
    ContainerState,
    Done,
    Exit,
    FromAgent,
    FromMaster,
    Heartbeat,
    Hello,
    NodeSample,
    Refused,
    Report,
    Resume,
    Start,
    Stop,
    Suspend,
    Welcome,
)

HELLO_AGAIN = 2.0
REPORT_AGAIN = 3.0
DEAF_AFTER = 4.0


@dataclass
class Running:
    """A container as its agent has it; ``due`` is when its present step is over."""

    name: str
    incarnation: int
    start: Start | None
    state: ContainerState = "starting"
    due: float | None = None
    want: str = "run"
    last: tuple[int, int] = (0, 0)
    floor: int = -1
    restarts: int = 0
    exit: Exit | None = None
    settled: bool = False
    finishes: float | None = None
    waiting: list[tuple[int, str]] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        return self.state not in ("ended", "backing-off")


class ModelAgent:
    """``send`` gives a message to the network; ``step`` lets time pass."""

    def __init__(
        self,
        node: str,
        capacity: dict[str, int],
        groups: dict[str, list[str]],
        rng: random.Random,
        send: Callable[["ModelAgent", FromAgent], None],
    ) -> None:
        self.node, self.capacity, self.groups = node, capacity, groups
        self.containers: dict[str, Running] = {}
        self.epoch = 0
        self.links = 0
        self.up = True
        self.finishing = True
        """Whether batch containers come to their end."""
        self.silent_orders = 0
        """Orders of old masters that were refused."""
        self._rng = rng
        self._send = send
        self._sessions = 0
        self.begin(0.0)

    def begin(self, now: float) -> None:
        """A new process of the agent, that finds its containers as they were."""
        self.up = True
        self._sessions += 1
        self.session = f"{self.node}-{self._sessions}"
        self._beats = self._seq = 0
        self._outbox: dict[int, Report] = {}
        self._report_due = now
        self.heard = now
        for one in self.containers.values():
            one.waiting.clear()
            self._report(one)
        self.connect(now)

    def reboot(self, now: float) -> None:
        """The host restarts: nothing runs any more."""
        for one in self.containers.values():
            if one.alive:
                one.exit = Exit("lost")
                self._over(one, now)
        self.begin(now)

    def connect(self, now: float) -> None:
        self.links += 1
        self.link = f"{self.node}#{self.links}"
        self.welcomed = False
        self.heard = now
        self._hello(now)

    def _hello(self, now: float) -> None:
        self._hello_due = now + HELLO_AGAIN
        listed = [self._view(one) for one in self.containers.values() if not one.settled]
        self._say(
            Hello(
                PROTOCOL,
                self.node,
                self.session,
                "boot",
                "127.0.0.1",
                "1",
                self.epoch,
                self.capacity,
                {},
                self.groups,
                [],
                listed,
            )
        )

    def _say(self, message: FromAgent) -> None:
        self._send(self, message)

    @staticmethod
    def _view(one: Running) -> ContainerReport:
        return ContainerReport(one.name, one.incarnation, one.state, exit=one.exit)

    def _report(self, one: Running) -> None:
        self._seq += 1
        report = self._outbox[self._seq] = Report(self.session, self._seq, self._view(one))
        self._say(report)

    def step(self, now: float) -> None:
        """Called every now and then while the agent is up."""
        if now - self.heard > DEAF_AFTER:
            self.connect(now)
        if not self.welcomed and now >= self._hello_due:
            self._hello(now)
        if self.welcomed and self._outbox and now >= self._report_due:
            self._report_due = now + REPORT_AGAIN
            for report in self._outbox.values():
                self._say(report)
        for one in list(self.containers.values()):
            if one.due is not None and now >= one.due:
                one.due = None
                self._due(one, now)
            elif self._finishes(one, now):
                one.exit = Exit("exited", code=0)
                self._end(one)

    def _finishes(self, one: Running, now: float) -> bool:
        due = one.finishes is not None and now >= one.finishes
        return self.finishing and due and one.state == "running"

    def beat(self) -> None:
        if self.welcomed:
            self._beats += 1
            listed = [self._view(one) for one in self.containers.values() if not one.settled]
            self._say(Heartbeat(self.session, self._beats, NodeSample(), listed, []))

    def _due(self, one: Running, now: float) -> None:
        if one.state == "starting":
            one.state = "running"
            self._report(one)
            self._answer(one, "start")
            if one.want == "suspend":
                one.due = now + 0.01
        elif one.state == "stopping":
            one.exit = Exit("stopped")
            self._end(one)
        elif one.state == "backing-off":
            one.restarts += 1
            one.state, one.due = "starting", now + 0.3
            self._report(one)
        elif one.want == "suspend" and one.state == "running":
            one.state = "suspended"
            self._report(one)
            self._answer(one, "suspend")
        elif one.want == "run" and one.state == "suspended":
            one.state = "running"
            self._report(one)
            self._answer(one, "resume")

    def crash(self, one: Running, now: float) -> None:
        """The container's process ends with an error."""
        if one.state == "running":
            one.exit = Exit("exited", code=1)
            self._over(one, now)

    def _over(self, one: Running, now: float) -> None:
        if one.start is not None and one.start.restart != "never" and one.want != "stop":
            one.state, one.due = "backing-off", now + 1.0
            self._report(one)
        else:
            self._end(one)

    def _end(self, one: Running) -> None:
        one.state, one.due, one.finishes = "ended", None, None
        self._report(one)
        self._answer(one, "stop")
        self._answer(one, "start")
        for goal in ("suspend", "resume"):
            self._answer(one, goal, "it has ended")

    def _answer(self, one: Running, goal: str, error: str = "") -> None:
        for order, wanted in list(one.waiting):
            if wanted == goal:
                one.waiting.remove((order, wanted))
                self._say(Done(order, one.name, error))

    def receive(self, message: FromMaster, now: float) -> None:
        self.heard = now
        if isinstance(message, Refused):
            self._hello_due = now + 5.0
            return
        if isinstance(message, Welcome):
            if message.epoch >= self.epoch:
                self.epoch, self.welcomed = message.epoch, True
            return
        if message.epoch < self.epoch:
            self.silent_orders += 1
            return
        self.epoch = message.epoch
        if isinstance(message, Confirm):
            self._confirmed(message)
        elif isinstance(message, Start):
            self._start(message, now)
        elif isinstance(message, Stop):
            self._stop(message, now)
        elif isinstance(message, Suspend | Resume):
            self._set(message, "suspend" if isinstance(message, Suspend) else "run", now)

    def _confirmed(self, message: Confirm) -> None:
        if message.session != self.session:
            return
        for seq in [seq for seq in self._outbox if seq <= message.seq]:
            report = self._outbox.pop(seq).report
            one = self.containers.get(report.container)
            if one is not None and report.state == "ended" and one.state == "ended":
                one.settled = one.settled or one.incarnation == report.incarnation

    def _start(self, order: Start, now: float) -> None:
        one = self.containers.get(order.container)
        if one is not None and (
            order.incarnation <= one.floor or order.incarnation < one.incarnation
        ):
            self._say(Done(order.order, order.container, "it has been stopped"))
            return
        if one is None or (order.incarnation > one.incarnation and not one.alive):
            floor = one.floor if one is not None else -1
            one = Running(order.container, order.incarnation, order, floor=floor)
            one.due = now + self._rng.uniform(0.1, 0.8)
            self.containers[order.container] = one
            if "BATCH" in order.env:
                one.finishes = now + self._rng.uniform(2, 20)
            self._report(one)
        elif order.incarnation > one.incarnation:
            self._begin_stop(one, 0.1, now)
            return
        if one.state == "starting":
            one.waiting.append((order.order, "start"))
        else:
            self._say(Done(order.order, order.container, ""))

    def _stop(self, order: Stop, now: float) -> None:
        one = self.containers.get(order.container)
        if one is None:
            one = Running(order.container, order.incarnation, None, "ended", exit=Exit("stopped"))
            self.containers[order.container] = one
            self._report(one)
        one.floor = max(one.floor, order.incarnation)
        if order.incarnation < one.incarnation or one.state == "ended":
            self._say(Done(order.order, order.container, ""))
            return
        one.waiting.append((order.order, "stop"))
        self._begin_stop(one, self._rng.uniform(0.05, min(2.0, order.grace + 0.1)), now)

    def _begin_stop(self, one: Running, delay: float, now: float) -> None:
        one.want = "stop"
        if one.state == "backing-off":
            self._end(one)
        elif one.state != "stopping":
            one.state, one.due = "stopping", now + delay
            self._report(one)

    def _set(self, order: Suspend | Resume, want: str, now: float) -> None:
        one = self.containers.get(order.container)
        refusal = ""
        if one is None or one.incarnation != order.incarnation:
            refusal = "that incarnation is not here"
        elif one.state == "ended" or one.want == "stop":
            refusal = "it has ended"
        elif (order.epoch, order.order) < one.last:
            refusal = "overtaken"
        if one is None or refusal:
            self._say(Done(order.order, order.container, refusal))
            return
        one.last = (order.epoch, order.order)
        one.want = want
        goal = "suspend" if want == "suspend" else "resume"
        reached = one.state == ("suspended" if want == "suspend" else "running")
        if reached:
            self._say(Done(order.order, order.container, ""))
            return
        one.waiting.append((order.order, goal))
        if one.state in ("running", "suspended") and one.due is None:
            one.due = now + self._rng.uniform(0.01, 0.2)
