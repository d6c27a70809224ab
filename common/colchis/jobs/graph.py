"""Jobs as stages: what a user writes, and the DAG that comes of it.

Nothing runs before a result is asked for. Operations that need one record at a time (``map``,
``filter``, ...) are chained into one stage; ``shuffle`` and ``reduce`` begin another.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from colchis.errors import ColchisError
from colchis.jobs import functions as op
from colchis.jobs.bounds import (
    buckets_of,
    memory_of,
    name_of,
    partitions_of,
    prefer_of,
    retries_of,
)
from colchis.jobs.futures import first, flatten
from colchis.wire.jobs import After, StageSpec

if TYPE_CHECKING:
    from colchis.jobs.client import Client


class Job:
    """A job to be: stages under one name and priority (a lower number is more urgent)."""

    def __init__(self, client: "Client", name: str, priority: int, retries: int) -> None:
        self.client = client
        self.name = name_of(name)
        self.priority = priority
        self.retries = retries_of(retries)

    def records(
        self,
        items: Iterable[Any],
        *,
        partitions: int | None = None,
        memory: int = 0,
        prefer: Sequence[str] = (),
    ) -> "Stage":
        """Records to begin with, in so many partitions (default: four per slot).

        ``memory`` is what a task is expected to hold, in bytes; ``prefer`` names a node or
        executor ("" for none) per partition. Raises ValueError for what no job may have.
        """
        held = list(items)
        wanted = 4 * self.client.slots() if partitions is None else partitions_of(partitions)
        number = max(1, min(wanted, len(held)))
        size, more = divmod(len(held), number)
        parts, start = [], 0
        for index in range(number):
            end = start + size + (index < more)
            parts.append(held[start:end])
            start = end
        return Stage(
            self,
            (),
            number,
            parts=parts,
            memory=memory_of(memory),
            prefer=prefer_of(prefer),
        )

    def map(
        self,
        function: Callable[[Any], Any],
        items: "Iterable[Any] | Stage",
        *,
        partitions: int | None = None,
        memory: int = 0,
        prefer: Sequence[str] = (),
    ) -> "Stage":
        """Apply a function to each item, or to each record of a stage."""
        if isinstance(items, Stage):
            return items.map(function)
        held = self.records(items, partitions=partitions, memory=memory, prefer=prefer)
        return held.map(function)

    def reduce(self, function: Callable[[Any, Any], Any], stage: "Stage", *initial: Any) -> "Stage":
        """See :meth:`Stage.reduce`."""
        return stage.reduce(function, *initial)


class Stage:
    """Records to come, in partitions; or one value, after :meth:`reduce`."""

    def __init__(
        self,
        job: Job,
        ops: tuple[op.Op, ...],
        partitions: int,
        *,
        parts: list[list[Any]] | None = None,
        source: "Stage | None" = None,
        mode: str = "",
        memory: int = 0,
        prefer: list[str] | None = None,
        single: bool = False,
    ) -> None:
        self.job = job
        self.partitions = partitions
        self._ops = ops
        self._parts = parts
        self._source = source
        self._mode = mode
        self._memory = memory
        self._prefer = prefer or []
        self._single = single

    def _then(self, new: op.Op) -> "Stage":
        if self._single:
            raise ColchisError("a reduced stage is one value; nothing can be mapped over it")
        return Stage(
            self.job,
            (*self._ops, new),
            self.partitions,
            parts=self._parts,
            source=self._source,
            mode=self._mode,
            memory=self._memory,
            prefer=self._prefer,
        )

    def map(self, function: Callable[[Any], Any]) -> "Stage":
        """Apply a function to each record."""
        return self._then(op.Map(function))

    def flat_map(self, function: Callable[[Any], Iterable[Any]]) -> "Stage":
        """Apply a function that gives any number of records for each."""
        return self._then(op.FlatMap(function))

    def filter(self, function: Callable[[Any], object]) -> "Stage":
        """Keep the records for which a function is true."""
        return self._then(op.Filter(function))

    def apply(self, function: op.Op) -> "Stage":
        """Apply a function to the iterator over each partition's records; it returns records."""
        return self._then(function)

    def shuffle(
        self,
        key: Callable[[Any], Any],
        *,
        value: Callable[[Any], Any] | None = None,
        partitions: int | None = None,
    ) -> "Stage":
        """Bring records of one key together: records ``(key, [value, ...])``."""
        number = buckets_of(self.partitions if partitions is None else partitions)
        source = self._then(op.Split(key, value, number))
        return Stage(self.job, (op.Group(),), number, source=source, mode="bucket")

    def reduce(self, function: Callable[[Any, Any], Any], *initial: Any) -> "Stage":
        """Reduce all records to one value, in each partition first; as ``functools.reduce``.

        ``function`` must be associative; ``initial`` comes before the first record.
        """
        source = self._then(op.Partial(function))
        total = op.Total(function, initial[:1])
        return Stage(self.job, (total,), 1, source=source, mode="all", single=True)

    def submit(self) -> "Future[Any]":
        """Begin; the future has the list of records, or the value of a reduction."""
        specs: list[StageSpec] = []
        functions: dict[str, bytes] = {}
        self._compile(specs, functions)
        combine = first if self._single else flatten
        return self.job.client.run(self.job, specs, functions, combine)

    def result(self, timeout: float | None = None) -> Any:
        """Begin, and wait for the end."""
        future = self.submit()
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise

    def _compile(self, specs: list[StageSpec], functions: dict[str, bytes]) -> int:
        after: list[After] = []
        buckets = 0
        if self._source is not None:
            number = self._source._compile(specs, functions)
            after = [After(number, self._mode)]  # type: ignore[arg-type]  # one of its three words
        if self._ops and isinstance(self._ops[-1], op.Split):
            buckets = self._ops[-1].buckets
        digest, data = self.job.client.pickle_function(op.Chain(self._ops))
        functions[digest] = data
        specs.append(
            StageSpec(
                name=f"s{len(specs)}",
                kind="records",
                function=digest,
                tasks=self.partitions,
                payloads=[self.job.client.pickle(part) for part in self._parts or ()],
                after=after,
                buckets=buckets,
                memory=self._memory,
                prefer=self._prefer,
            )
        )
        return len(specs) - 1
