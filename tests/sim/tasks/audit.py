"""A second opinion: replays what a scheduler was told and ordered, and holds it to the laws.

It keeps its own plain account and looks at nothing inside the scheduler but what is public.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from colchis_master.tasks import events as ev
from colchis_master.tasks.options import Options

SUSPENDING = ("lma", "lb", "cl", "random")


@dataclass
class Account:
    job: str
    priority: int
    memory: int
    prefer: str | None
    attempt: int
    where: str = "waiting"  # waiting, slot, suspending, parked, killing, dropping
    executor: str = ""
    displaced: int = 0
    protected_until: float = -1.0
    parked_at: float = 0.0
    suspension: int = 0
    cancelled: bool = False


class Audit:
    def __init__(self, policy: str, options: Options) -> None:
        self.policy, self.options = policy, options
        self.executors: dict[str, ev.ExecutorJoined] = {}
        self.live: dict[str, Account] = {}
        self.ended: Counter[str] = Counter()
        self.submitted: set[str] = set()
        self.cancelled: set[str] = set()
        self.failed: set[str] = set()
        self.orders: Counter[str] = Counter()
        self.carried: dict[str, ev.Carried] = {}
        self.kept: Counter[str] = Counter()

    def restarted(self) -> list[str]:
        """Another scheduler begins that knows nothing; the tasks that it should do."""
        tasks = [task for task, account in self.live.items() if not account.cancelled]
        self.live.clear()
        self.executors.clear()
        self.kept.clear()
        return tasks

    def told(self, now: float, event: ev.Event) -> None:
        self.carried = {}
        match event:
            case ev.ExecutorJoined():
                if event.executor not in self.executors:
                    self.carried = {carried.spec.task: carried for carried in event.carried}
                self.executors.setdefault(event.executor, event)
            case ev.ExecutorLost(executor=name) if name in self.executors:
                del self.executors[name]
                for task, account in list(self.live.items()):
                    if account.executor == name:
                        self.back(task, account)
            case ev.StageSubmitted():
                for spec in event.tasks:
                    self.submitted.add(spec.task)
                    self.live[spec.task] = Account(
                        event.job, event.priority, spec.memory_bytes, spec.prefer, spec.attempt
                    )
            case ev.TaskFinished(task=task, attempt=attempt):
                if self.current(task, attempt):
                    self.ended[task] += 1
                    del self.live[task]
            case ev.TaskFailed(task=task, attempt=attempt, retry=retry):
                if found := self.current(task, attempt):
                    if retry:
                        self.back(task, found)
                    else:
                        self.failed.add(task)
                        del self.live[task]
            case ev.Suspended(task=task, attempt=attempt, suspension=number):
                found = self.current(task, attempt)
                latest = found is not None and number in (None, found.suspension)
                if found and found.where == "suspending" and latest:
                    found.where = "parked"
                    found.parked_at = now
            case ev.Killed(task=task, attempt=attempt):
                if found := self.current(task, attempt):
                    self.back(task, found)
            case ev.JobCancelled(job=job):
                for task, account in list(self.live.items()):
                    if account.job == job:
                        account.cancelled = True
                        self.cancelled.add(task)
                        if account.where == "waiting":
                            del self.live[task]

    def current(self, task: str, attempt: int) -> Account | None:
        account = self.live.get(task)
        return account if account and account.attempt == attempt else None

    def back(self, task: str, account: Account) -> None:
        if account.cancelled:
            del self.live[task]
            return
        account.where, account.executor = "waiting", ""
        account.attempt += 1
        account.protected_until = -1.0
        account.suspension = 0

    def ordered(self, now: float, orders: Sequence[ev.Instruction]) -> None:
        for order in orders:
            self.orders[type(order).__name__] += 1
            if isinstance(order, ev.Adopted):
                self.orders[f"Adopted {self.carried[order.task].state}"] += 1
                self.adopted(now, order)
                continue
            account = self.live[order.task]
            assert account.attempt == order.attempt, order
            assert order.reason and order.cause, order
            assert order.executor in self.executors, f"{order}: no such executor"
            match order:
                case ev.Launch():
                    assert account.where == "waiting", order
                    self.enter(now, account, order)
                case ev.Resume():
                    assert account.where == "parked", order
                    assert account.executor == order.executor, "suspended tasks never move"
                    self.enter(now, account, order)
                case ev.Suspend():
                    assert self.policy in SUSPENDING, f"{self.policy} suspends nobody"
                    assert account.where == "slot", order
                    self.displace(now, account, order)
                    account.where = "suspending"
                    account.suspension += 1
                    assert order.suspension == account.suspension
                case ev.Kill():
                    assert account.where in ("slot", "suspending", "parked"), order
                    if self.policy == "kill" and not account.cancelled:
                        self.displace(now, account, order)
                    elif not account.cancelled:
                        assert account.where == "parked"  # starts again elsewhere
                        assert self.options.restart_after is not None
                    account.where = "dropping" if account.where == "parked" else "killing"
        for task, carried in self.carried.items():
            if carried.state == "suspended":
                found = self.live.get(task)
                taken = found is not None and found.executor
                assert taken, f"{task} is not adopted though it needs no slot"
        self.check_bounds()
        self.check_nothing_idle()

    def adopted(self, now: float, order: ev.Adopted) -> None:
        carried = self.carried[order.task]
        account = self.live.setdefault(
            order.task,
            Account(
                carried.job,
                carried.priority,
                carried.spec.memory_bytes,
                carried.spec.prefer,
                carried.spec.attempt,
            ),
        )
        assert account.where == "waiting", order
        assert account.attempt == order.attempt, order
        assert order.reason, order
        if carried.state == "suspended":
            account.where, account.executor = "parked", order.executor
            account.parked_at = now
        else:
            self.enter(now, account, order)
        if carried.state != "running":
            account.displaced += 1
            account.suspension = 1
        if carried.state == "suspending":
            account.where = "suspending"
        node = self.executors[order.executor].node
        self.kept[node] = max(self.kept[node], self.suspended_memory().get(node, 0))

    def enter(self, now: float, account: Account, order: ev.Instruction) -> None:
        used = sum(
            other.executor == order.executor and other.where in ("slot", "suspending", "killing")
            for other in self.live.values()
        )
        assert used < self.executors[order.executor].cores, f"{order}: no free slot"
        waited = now - account.parked_at if account.where == "parked" else None
        account.where, account.executor = "slot", order.executor
        if account.displaced >= self.options.max_suspensions:
            protect, per_wait = self.options.protect, self.options.protect_per_wait
            if waited is not None and per_wait is not None:
                protect = min(protect, waited * per_wait)
            account.protected_until = max(account.protected_until, now + protect)

    def displace(self, now: float, account: Account, order: ev.Instruction) -> None:
        assert account.executor == order.executor
        assert now >= account.protected_until, f"{order}: protected"
        account.displaced += 1
        others = list(self.live.values())
        here = [other for other in others if other.executor == account.executor]
        # For a task that is suspended here a slot that comes free elsewhere is of no use.
        if self.leaving(here) < self.urgent(account, here, "parked"):
            return
        leaving, urgent = self.leaving(others), self.urgent(account, others, "waiting", "parked")
        # Under cl a slot that comes free elsewhere may be of no use to a task that is bound.
        spare = len(self.executors) if self.policy == "cl" else 0
        assert leaving < urgent + spare, f"{order}: more victims than urgent tasks"

    @staticmethod
    def leaving(accounts: list[Account]) -> int:
        return sum(a.where in ("suspending", "killing") and not a.cancelled for a in accounts)

    @staticmethod
    def urgent(victim: Account, accounts: list[Account], *where: str) -> int:
        """Those more urgent than the victim or anyone who leaves."""
        leaving = [
            a.priority for a in accounts if a.where in ("suspending", "killing") and not a.cancelled
        ]
        below = max(victim.priority, *leaving, victim.priority)
        return sum(a.where in where and a.priority < below for a in accounts)

    def suspended_memory(self) -> dict[str, int]:
        charged: Counter[str] = Counter()
        for account in self.live.values():
            if account.where in ("suspending", "parked", "dropping"):
                charged[self.executors[account.executor].node] += account.memory
        return {node: amount for node, amount in charged.items() if amount}

    def check_bounds(self) -> None:
        for node, amount in self.suspended_memory().items():
            bound = self.options.max_suspended_memory
            if bound is None:
                bound = sum(e.memory_bytes for e in self.executors.values() if e.node == node)
                # a node that has lost an executor may be over the bound that the loss has shrunk
                continue
            bound = max(bound, self.kept[node])  # what was suspended before counts, too
            assert amount <= bound, f"{node} keeps {amount} bytes suspended, bound {bound}"

    def check_nothing_idle(self) -> None:
        used: Counter[str] = Counter()
        for account in self.live.values():
            if account.where in ("slot", "suspending", "killing"):
                used[account.executor] += 1
        idle = {n for n, e in self.executors.items() if used[n] < e.cores}
        places = {*self.executors, *(e.node for e in self.executors.values())}
        for task, account in self.live.items():
            if account.where == "parked":
                assert account.executor not in idle, f"{task} is suspended beside a free slot"
            if account.where == "waiting" and self.policy not in ("static", "cl"):
                assert not idle, f"{task} waits although {idle} are idle"
            if account.where == "waiting" and self.policy == "cl":
                bound = account.prefer if account.prefer in places else None
                fit = {n for n in idle if bound in (None, n, self.executors[n].node)}
                assert not fit, f"{task} waits although {fit} are idle"

    def check_end(self) -> None:
        """All work is done: each task once, none forgotten."""
        assert not self.live, f"left over: {self.live}"
        assert all(times == 1 for times in self.ended.values())
        assert set(self.ended) | self.cancelled | self.failed == self.submitted
        assert not self.failed & set(self.ended)
