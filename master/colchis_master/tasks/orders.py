"""What is ordered and told while one event is handled."""

from colchis_master.tasks import events as ev
from colchis_master.tasks.book import Book
from colchis_master.tasks.records import Executor, Stage, Task
from colchis_master.tasks.story import Entry, Story


class Orders:
    """Enters each order in the book, the instructions and the story.

    ``cause`` is the event that whatever is ordered next follows from.
    """

    def __init__(self, book: Book) -> None:
        self.book = book
        self.story = Story()
        self.now = 0.0
        self.cause = ""
        self.out: list[ev.Instruction] = []

    def begin(self, now: float, cause: str) -> None:
        """An event has come; its instructions are collected in ``out``."""
        self.now, self.cause, self.out = now, cause, []

    def launch(self, task: Task, executor: Executor, why: str) -> None:
        """Give a pending task a slot of the executor."""
        self.book.start(task, executor, self.now)
        order = ev.Launch(self.cause, task.id, task.attempt, executor.name, why)
        self.say(order, task, "launch")

    def resume(self, task: Task, why: str) -> None:
        """Give a suspended task a slot of its executor again."""
        protected = task.protected_until
        self.book.resume(task, self.now)
        if task.protected_until > max(protected, self.now):
            why += f"; protected for {task.protected_until - self.now:.3g} s"
        order = ev.Resume(self.cause, task.id, task.attempt, self.holder(task).name, why)
        self.say(order, task, "resume")

    def displace(self, victim: Task, claim: str, stage: Stage) -> None:
        """Have a victim step aside for a task of the stage, which waits in the lane ``claim``."""
        reason = (
            f"stage {stage} (priority {stage.priority}) is more urgent than priority "
            f"{victim.stage.priority} and no slot is free for it"
        )
        if self.book.policy.displaces == "kill":
            self.kill(victim, claim, reason)
            return
        self.book.order_suspend(victim, claim)
        self.say(
            ev.Suspend(
                self.cause,
                victim.id,
                victim.attempt,
                self.holder(victim).name,
                reason,
                victim.suspension,
            ),
            victim,
            "suspend",
        )

    def kill(self, task: Task, claim: str | None, why: str) -> None:
        """Have the attempt ended; the slot is for the lane ``claim``, if any."""
        self.book.order_kill(task, claim)
        order = ev.Kill(self.cause, task.id, task.attempt, self.holder(task).name, why)
        self.say(order, task, "kill")

    def say(self, order: ev.Instruction, task: Task, what: str) -> None:
        """Add an instruction and tell of it."""
        self.out.append(order)
        self.tell(task, f"{what} attempt {order.attempt} on {order.executor}", order.reason)

    def tell(self, task: Task, what: str, reason: str) -> None:
        """Add to the story of a task."""
        executor = task.executor.name if task.executor else ""
        self.story.tell(task.id, Entry(self.now, self.cause, what, reason, executor))

    @staticmethod
    def holder(task: Task) -> Executor:
        """The executor that the task is on."""
        assert task.executor is not None, f"{task.id} is on no executor"
        return task.executor
