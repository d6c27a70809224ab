"""The clients' side of the job core: who is there, and which functions they may name."""

from colchis.wire import jobs as ask
from colchis.wire import tasks as wire
from colchis_master.jobs.books import Books, ToClient
from colchis_master.jobs.graph import Jobs
from colchis_master.jobs.peers import Client


class Clients:
    """Takes clients on and gives them up."""

    def __init__(self, books: Books, jobs: Jobs) -> None:
        self._books = books
        self._jobs = jobs

    def hello(self, message: ask.Hello, now: float) -> None:
        """A client has come, or come back: what its jobs have so far is sent (again)."""
        name = message.client
        client = self._books.clients.setdefault(name, Client(name, now))
        client.heard = now
        unknown = [job for job in message.jobs if job not in self._books.jobs]
        self._books.say(
            ToClient(
                name,
                ask.Greeting(
                    self._books.epoch,
                    sum(executor.cores for executor in self._books.executors.values()),
                    len(self._books.executors),
                    unknown,
                ),
            )
        )
        for job_id in message.jobs:
            job = self._books.jobs.get(job_id)
            if job is None or job.client != name:
                continue
            client.jobs.add(job_id)
            self._books.say(ToClient(name, ask.Accepted(job_id)))
            for number in job.spec.deliver:
                for task in job.stages[number].tasks:
                    if task.results is not None:
                        done = ask.TaskDone(job_id, number, task.index, task.results)
                        self._books.say(ToClient(name, done))
                    elif task.broken is not None:
                        broken = ask.TaskBroken(job_id, number, task.index, task.broken)
                        self._books.say(ToClient(name, broken))
            if job.over:
                ended = ask.JobEnded(job_id, job.state, job.failure)  # type: ignore[arg-type]  # as above
                self._books.say(ToClient(name, ended))

    def expect(self, name: str, now: float) -> None:
        """A client of the service's earlier life is given time to come back."""
        self._books.clients.setdefault(name, Client(name, now))

    def left(self, name: str) -> None:
        """A client is gone: nothing of it is to go on."""
        client = self._books.clients.pop(name, None)
        if client is None:
            return
        for job in list(client.jobs):
            self._jobs.release(job)
        for digest in client.functions:
            self._books.functions.drop(digest, name)

    def add_function(self, name: str, message: wire.Function) -> None:
        """A client has sent a function that it will name from now on."""
        client = self._books.clients[name]
        if message.digest not in client.functions:
            client.functions.add(message.digest)
            self._books.functions.add(message.digest, message.data, name)

    def drop_function(self, name: str, digest: str) -> None:
        """A client will not name a function again before sending it anew."""
        client = self._books.clients[name]
        if digest in client.functions:
            client.functions.discard(digest)
            self._books.functions.drop(digest, name)
