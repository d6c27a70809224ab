"""The containers of a node: what each is doing, what was asked of it, and what follows.

Orders say what is wanted; events say what is. Each handler moves the container along the table of
``lifecycle`` and emits what has to be done for it. Orders that come twice, late or in another
order than sent have no further effect: a start is told apart by its incarnation, a stop holds for
its incarnation for good, and of suspensions and resumptions the one sent last counts.
"""

from colchis.wire.messages import Exit, Resume, Start, Stop, Suspend
from colchis_agent.core.events import (
    Clear,
    Discard,
    Freeze,
    Kill,
    Launch,
    Notice,
    Terminate,
    Thaw,
)
from colchis_agent.core.lifecycle import ALIVE, REPORTED, Cause, Phase, step
from colchis_agent.core.live import Goal, Live, Waiting
from colchis_agent.core.output import Output
from colchis_agent.core.record import STABLE_SECONDS, Record, Want, back_off, restarts_after
from colchis_agent.driver.model import ContainerRef

KILL_AGAIN = 0.5
THAW_AGAIN = 1.0
REPLACE_GRACE = 5.0
LOST_DELAY = 10.0
"""Seconds before a lost container is started again: time for the master to say it moved."""


class Containers:
    """All containers of a node by name; what is to be done goes to ``out``."""

    def __init__(self, out: Output) -> None:
        self.live: dict[str, Live] = {}
        self.api = ""
        self._out = out

    def start(self, order: Start, port: int | None, now: float) -> None:
        """Start an incarnation, in the place of an older one if there is one."""
        live = self.live.get(order.container)
        if live is None:
            record = Record(
                container=order.container,
                incarnation=order.incarnation,
                start=order,
                phase=Phase.STARTING,
                port=port,
            )
            live = self.live[order.container] = Live(record)
            self._out.change(live)
            self.launch(live)
        record = live.record
        self._tell_again(live, order.incarnation, now)
        if order.incarnation <= record.floor:
            self._out.done(order.order, order.container, "it has been stopped")
            return
        if order.incarnation < record.incarnation:
            newer = f"incarnation {record.incarnation} has taken its place"
            self._out.done(order.order, order.container, newer)
            return
        live.waiting.append(Waiting(order.order, Goal.STARTED, order.incarnation))
        if order.incarnation > record.incarnation:
            if record.successor is None or order.incarnation > record.successor.incarnation:
                record.successor = order
                record.port = record.port or port
                self._out.change(live)
            if record.phase is Phase.ENDED:
                self._succeed(live)
            else:
                self._stop(live, REPLACE_GRACE, now)
        self._settle(live)

    def stop(self, order: Stop, now: float) -> None:
        """End an incarnation for good, whatever it is doing and even before it came."""
        live = self.live.get(order.container)
        if live is None:
            record = Record(
                container=order.container,
                incarnation=order.incarnation,
                start=None,
                phase=Phase.ENDED,
                want=Want.STOP,
                exit=Exit("stopped", detail="it was stopped before it was started"),
            )
            live = self.live[order.container] = Live(record, ended_at=now)
            self._out.report(live, now)
        record = live.record
        record.floor = max(record.floor, order.incarnation)
        self._out.change(live)
        if order.incarnation < record.incarnation:
            self._out.done(order.order, order.container, "")
            return
        if record.successor is not None and record.successor.incarnation <= order.incarnation:
            record.successor = None
        live.waiting.append(Waiting(order.order, Goal.ENDED, order.incarnation))
        self._tell_again(live, order.incarnation, now)
        if record.phase is not Phase.ENDED:
            self._stop(live, order.grace, now)
        self._settle(live)

    def suspend(self, order: Suspend, now: float) -> None:
        """Take it off its cores; one that is not running stays off until it is resumed."""
        live = self._for_this(order)
        if live is None:
            return
        live.failure = ""
        live.record.want = Want.SUSPEND
        live.waiting.append(Waiting(order.order, Goal.SUSPENDED, order.incarnation))
        if live.record.phase in (Phase.RUNNING, Phase.RESUMING):
            self._freeze(live, now)
        elif live.record.phase is Phase.BACKING_OFF:
            live.deadline = None
            self._move(live, Cause.SUSPEND, now)
        self._settle(live)

    def resume(self, order: Resume, now: float) -> None:
        """Give it its cores back."""
        live = self._for_this(order)
        if live is None:
            return
        live.failure = ""
        live.record.want = Want.RUN
        live.waiting.append(Waiting(order.order, Goal.RESUMED, order.incarnation))
        if live.record.phase in (Phase.SUSPENDING, Phase.SUSPENDED):
            self._thaw(live, now)
        elif live.record.phase is Phase.HELD:
            self._move(live, Cause.RESUME, now)
            live.deadline = now
        self._settle(live)

    def _for_this(self, order: Suspend | Resume) -> Live | None:
        live = self.live.get(order.container)
        refusal = ""
        if live is None or live.record.incarnation != order.incarnation:
            refusal = f"incarnation {order.incarnation} is not here"
        elif live.record.phase is Phase.ENDED:
            refusal = "it has ended"
        elif live.record.want is Want.STOP:
            refusal = "it is being stopped"
        elif (order.epoch, order.order) < live.record.last:
            refusal = f"order {live.record.last[1]} has overtaken it"
        if live is None or refusal:
            self._out.done(order.order, order.container, refusal)
            return None
        live.record.last = (order.epoch, order.order)
        self._out.change(live)
        return live

    def launched(self, ref: ContainerRef, pid: int | None, at: float | None, now: float) -> None:
        """The main process exists."""
        live = self._of(ref)
        if live is None or live.record.phase not in (Phase.STARTING, Phase.STOPPING):
            return
        live.pid = pid
        live.running_since = now
        live.record.started_at = at
        self._out.change(live)
        if live.record.phase is Phase.STARTING:
            self._move(live, Cause.LAUNCHED, now)
            self.pursue(live, now)
        self._settle(live)

    def launch_failed(self, ref: ContainerRef, message: str, now: float) -> None:
        """The driver could not launch the present life."""
        live = self._of(ref)
        if live is not None and live.record.phase in (Phase.STARTING, Phase.STOPPING):
            self.exited(ref, Exit("launch-failed", detail=message), 0, now)

    def pursue(self, live: Live, now: float) -> None:
        """Suspend or resume a life that is not as it is wanted."""
        if live.record.want is Want.SUSPEND and live.record.phase is Phase.RUNNING:
            self._freeze(live, now)
        elif live.record.want is Want.RUN and live.record.phase is Phase.SUSPENDED:
            self._thaw(live, now)

    def exited(self, ref: ContainerRef, end: Exit, log_end: int, now: float) -> None:
        """The present life is over; the restart policy decides what follows."""
        live = self._of(ref)
        if live is None or live.record.phase not in ALIVE:
            return
        self._out.emit(Discard(ref) if end.kind == "launch-failed" else Clear(ref))
        record = live.record
        stable = live.running_since is not None and now - live.running_since >= STABLE_SECONDS
        live.pid = live.running_since = live.deadline = None
        record.log_length = log_end
        record.exit = end
        self._out.change(live)
        if record.want is Want.STOP:
            cause = end.detail or ("" if end.kind in ("exited", "signal") else end.kind)
            record.exit = Exit("stopped", end.code, end.signal, cause)
            self._end(live, now)
        elif record.start is not None and restarts_after(record.start, end):
            record.failures = 1 if stable else record.failures + 1
            live.deadline = now + self._delay(record)
            self._move(live, Cause.FAILED, now)
            if record.want is Want.SUSPEND:
                live.deadline = None
                self._move(live, Cause.SUSPEND, now)
        else:
            self._end(live, now)
        self._settle(live)

    def frozen(self, ref: ContainerRef, operation: int, now: float) -> None:
        """A freeze is done; one that was overtaken by a later operation counts for nothing."""
        live = self._of(ref)
        if live is None or live.operation != operation or live.record.phase != Phase.SUSPENDING:
            return
        self._move(live, Cause.FROZEN, now)
        self._settle(live)

    def thawed(self, ref: ContainerRef, operation: int, now: float) -> None:
        """A thaw is done."""
        live = self._of(ref)
        if live is None or live.operation != operation or live.record.phase != Phase.RESUMING:
            return
        live.deadline = None
        self._move(live, Cause.THAWED, now)
        self._settle(live)

    def operation_failed(self, ref: ContainerRef, operation: int, message: str, now: float) -> None:
        """A freeze that failed is undone, a thaw is tried again."""
        live = self._of(ref)
        if live is None or live.operation != operation:
            return
        if live.record.phase is Phase.SUSPENDING:
            self._out.emit(Notice("warning", message, {"container": ref.container}))
            live.failure = message
            live.record.want = Want.RUN
            self._settle(live)
            self._thaw(live, now)
        elif live.record.phase is Phase.RESUMING:
            live.deadline = now + THAW_AGAIN

    def tick(self, now: float) -> None:
        """Do what has become due."""
        for live in list(self.live.values()):
            if live.deadline is None or live.deadline > now:
                continue
            phase = live.record.phase
            if phase is Phase.BACKING_OFF:
                self._relaunch(live, now)
            elif phase is Phase.STOPPING:
                live.deadline = now + KILL_AGAIN
                self._out.emit(Kill(live.record.ref))
            elif phase is Phase.RESUMING:
                live.deadline = None
                self._out.emit(Thaw(live.record.ref, live.operation))

    def stop_all(self, grace: float, now: float) -> None:
        """End every container."""
        for live in self.live.values():
            live.record.successor = None
            if live.record.phase is not Phase.ENDED:
                self._stop(live, grace, now)
                self._settle(live)

    def _tell_again(self, live: Live, incarnation: int, now: float) -> None:
        """A master that orders something of what has ended has forgotten that it did."""
        if live.record.settled and live.record.incarnation == incarnation:
            live.record.settled = False
            self._out.change(live)
            self._out.report(live, now)

    def _of(self, ref: ContainerRef) -> Live | None:
        live = self.live.get(ref.container)
        return live if live is not None and live.record.ref == ref else None

    def _move(self, live: Live, cause: Cause, now: float) -> None:
        before = live.record.phase
        live.record.phase = step(before, cause)
        self._out.change(live)
        if REPORTED[before] != REPORTED[live.record.phase]:
            self._out.report(live, now)

    def launch(self, live: Live) -> None:
        """Launch the present life, which changes nothing if that was done before."""
        record = live.record
        assert record.start is not None
        live.deadline = None
        self._out.emit(Launch(record.ref, record.start, record.port, self.api))

    def _freeze(self, live: Live, now: float) -> None:
        live.operation += 1
        live.deadline = None
        self._move(live, Cause.SUSPEND, now)
        self._out.emit(Freeze(live.record.ref, live.operation))

    def _thaw(self, live: Live, now: float) -> None:
        live.operation += 1
        self._move(live, Cause.RESUME, now)
        self._out.emit(Thaw(live.record.ref, live.operation))

    def _stop(self, live: Live, grace: float, now: float) -> None:
        record = live.record
        record.want = Want.STOP
        record.grace = grace
        self._out.change(live)
        if record.phase not in ALIVE:
            last = record.exit or Exit("stopped")
            record.exit = Exit("stopped", last.code, last.signal)
            self._end(live, now)
        elif record.phase is Phase.STOPPING:
            live.deadline = min(now + grace, live.deadline or now + grace)
        else:
            self._move(live, Cause.STOP, now)
            self.ask_to_end(live, now)

    def ask_to_end(self, live: Live, now: float) -> None:
        """Begin the end of a life whose container is to stop."""
        live.deadline = now + live.record.grace
        if live.record.grace > 0:
            self._out.emit(Terminate(live.record.ref))

    def _end(self, live: Live, now: float) -> None:
        live.deadline = None
        live.ended_at = now
        self._move(live, Cause.END, now)
        if live.record.successor is not None:
            self._succeed(live)

    def _succeed(self, live: Live) -> None:
        """Put the waiting incarnation in the place of the one that has ended."""
        record = live.record
        start = record.successor
        assert start is not None
        for ref in filter(None, (record.former, record.ref)):
            self._out.emit(Discard(ref))
        live.ended_at = None
        live.record = Record(
            container=record.container,
            incarnation=start.incarnation,
            start=start,
            phase=step(record.phase, Cause.REPLACE),
            life=record.life + 1,
            port=record.port,
            floor=record.floor,
            last=record.last,
        )
        self._out.change(live)
        self.launch(live)

    def _relaunch(self, live: Live, now: float) -> None:
        record = live.record
        if record.former is not None:
            self._out.emit(Discard(record.former))
        record.former_base = record.log_base
        record.log_base += record.log_length
        record.log_length = 0
        record.life += 1
        record.restarts += 1
        self._move(live, Cause.RETRY, now)
        self.launch(live)

    @staticmethod
    def _delay(record: Record) -> float:
        lost = record.exit is not None and record.exit.kind == "lost"
        return max(back_off(record.failures), LOST_DELAY if lost else 0.0)

    def _settle(self, live: Live) -> None:
        """Answer the orders whose goal is reached, or out of reach."""
        remaining: list[Waiting] = []
        for waiting in live.waiting:
            answer = live.answer(waiting)
            if answer is None:
                remaining.append(waiting)
            else:
                self._out.done(waiting.order, live.record.container, answer)
        live.waiting = remaining
