"""What a new agent makes of the containers of a former one.

The record tells what was wanted and what had been begun, the driver what there is. Together they
say for each container where its lifecycle goes on; nothing is started that may already run.
"""

from colchis.wire.messages import Exit
from colchis_agent.core.containers import Containers
from colchis_agent.core.events import Adopted, AliveLife, Clear, Discard, Notice, Watch
from colchis_agent.core.lifecycle import Phase
from colchis_agent.core.live import Live
from colchis_agent.core.output import Output
from colchis_agent.core.record import Record, Want, back_off
from colchis_agent.driver.model import ContainerRef

BETWEEN_LIVES = frozenset({Phase.BACKING_OFF, Phase.HELD, Phase.ENDED})


def adopt(containers: Containers, out: Output, event: Adopted, now: float) -> None:
    """Take over all that was recorded, and clear away what no record knows."""
    for record in event.records:
        live = Live(record)
        containers.live[record.container] = live
        found = event.lives.get(record.ref)
        if record.phase in BETWEEN_LIVES:
            _between_lives(out, live, record.ref in event.lives, now)
        elif isinstance(found, AliveLife):
            _running(containers, out, live, found, now)
        elif found is not None:
            containers.exited(record.ref, found.exit, found.log_end, now)
        elif record.phase is Phase.STARTING:
            containers.launch(live)
        else:
            gone = Exit("lost", detail="nothing is left of it on this node")
            out.emit(Discard(record.ref))
            containers.exited(record.ref, gone, 0, now)
    known = {ref for record in event.records for ref in _kept(record)}
    for ref in sorted(event.lives.keys() - known):
        if ref.container not in containers.live:
            text = "a container without a record is removed"
            out.emit(Notice("warning", text, {"container": ref.container}))
        out.emit(Discard(ref))


def _kept(record: Record) -> set[ContainerRef]:
    """Lives of a container that are kept at the side of its record."""
    kept = {record.ref}
    if record.former is not None and record.former_base is not None:
        kept.add(record.former)
    return kept


def _between_lives(out: Output, live: Live, found: bool, now: float) -> None:
    record = live.record
    if found:
        out.emit(Clear(record.ref))
    if record.phase is Phase.BACKING_OFF:
        live.deadline = now + back_off(record.failures)
    elif record.phase is Phase.ENDED:
        live.ended_at = now
        if not record.settled:
            out.report(live, now)


def _running(containers: Containers, out: Output, live: Live, found: AliveLife, now: float) -> None:
    record = live.record
    live.pid = found.pid
    live.running_since = now
    out.emit(Watch(record.ref))
    out.change(live)
    if record.want is Want.STOP:
        record.phase = Phase.STOPPING
        containers.ask_to_end(live, now)
    else:
        record.phase = Phase.SUSPENDED if found.frozen else Phase.RUNNING
        containers.pursue(live, now)
