"""Answers to clients that ask how things stand."""

from collections import Counter

from colchis.wire.jobs import ExecutorStatus, JobStatus, Query, Status, TaskStatus, Told
from colchis_master.jobs.core import JobCore
from colchis_master.jobs.peers import Executor
from colchis_master.jobs.state import Job, Task


def status(core: JobCore, query: Query, now: float) -> Status:
    """All jobs and executors, or one job with its tasks; what was decided where that is asked."""
    books = core.books
    chosen = [books.jobs[query.job]] if query.job in books.jobs else []
    jobs = chosen if query.job else list(books.jobs.values())
    told = core.history() if query.history else core.story(query.task)
    return Status(
        query.request,
        [_job(job, now, with_tasks=bool(query.job)) for job in jobs],
        [_executor(executor) for executor in books.executors.values()],
        [
            Told(task, max(0.0, now - one.at), one.what, one.reason, one.executor)
            for task, one in told
        ],
    )


def _job(job: Job, now: float, *, with_tasks: bool) -> JobStatus:
    tasks = [task for stage in job.stages for task in stage.tasks]
    return JobStatus(
        job=job.id,
        name=job.spec.name,
        priority=job.spec.priority,
        state=job.state,
        counts=dict(Counter(_shown(task) for task in tasks)),
        submitted=job.submitted,
        seconds=max(0.0, (job.ended or now) - job.submitted),
        suspensions=sum(task.suspensions for task in tasks),
        kills=sum(task.kills for task in tasks),
        tasks=[_task(job, task) for task in tasks] if with_tasks else [],
        failure=job.failure,
    )


def _shown(task: Task) -> str:
    return task.shown or task.state.value


def _task(job: Job, task: Task) -> TaskStatus:
    return TaskStatus(
        stage=job.stages[task.stage].spec.name,
        index=task.index,
        state=_shown(task),
        executor=task.executor,
        attempts=task.number,
        suspensions=task.suspensions,
        memory=task.memory,
        reason=task.reason,
    )


def _executor(executor: Executor) -> ExecutorStatus:
    phases = Counter(attempt.phase for attempt in executor.pulse.attempts)
    parked = [a for a in executor.pulse.attempts if a.phase in ("suspended", "frozen", "held")]
    return ExecutorStatus(
        executor=executor.name,
        node=executor.node,
        cores=executor.cores,
        memory=executor.pulse.memory,
        spilled=executor.pulse.spilled,
        gc=executor.pulse.gc,
        running=phases["running"],
        suspending=phases["suspending"],
        suspended=len(parked),
        suspended_memory=sum(attempt.memory for attempt in parked),
    )
