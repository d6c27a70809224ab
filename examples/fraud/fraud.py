"""Fraud detection: one application trains a model in batch and scores a stream with the latest.

The application of the Neptune paper (SoCC'19, section 2): payments come in and must be judged at
once, while the model is trained again and again on all that is known. Both share the executors;
training is suspended whenever payments have to be scored, and goes on afterwards.

    python examples/fraud/fraud.py [--seconds S] [--rate R] [--policy NAME] [--cluster]

Prints, per micro-batch, how many payments were flagged by which model and how long that took.
Runs on this machine; with --cluster, or in a container of an app that may submit jobs, on a
cluster.
"""

import argparse
import itertools
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import colchis.jobs
from colchis.jobs.client import Client
from colchis.jobs.sources import Generator

FEATURES = 6
PARTS = 8
"""Partitions of the history: tasks of one step of training."""


@dataclass(frozen=True)
class Model:
    """A logistic regression; ``version`` counts the steps of training."""

    version: int
    weights: "np.ndarray[Any, np.dtype[np.float64]]"

    def score(self, payments: "np.ndarray[Any, np.dtype[np.float64]]") -> Any:
        """The probability of fraud of each payment."""
        return 1 / (1 + np.exp(-payments @ self.weights))


class Latest:
    """The model to score with. Pickled with the stream's function: a batch takes the newest."""

    def __init__(self) -> None:
        self.model = Model(0, np.zeros(FEATURES))

    def __call__(self, payment: "np.ndarray[Any, np.dtype[np.float64]]") -> tuple[int, float]:
        return self.model.version, float(self.model.score(payment))


def payments(seed: int) -> Iterator["np.ndarray[Any, np.dtype[np.float64]]"]:
    """Payments without end: amount, hour, distance and the like, scaled; the last is 1."""
    rng = np.random.default_rng(seed)
    while True:
        yield np.append(rng.normal(size=FEATURES - 1), 1.0)


def is_fraud(payment: "np.ndarray[Any, np.dtype[np.float64]]") -> bool:
    """What the model has to learn: far away, at night, for much."""
    return bool(payment[0] + 2 * payment[2] - payment[1] > 1.5)


@dataclass(frozen=True)
class Gradient:
    """One partition's share of a step of training, in chunks: each is a record."""

    weights: "np.ndarray[Any, np.dtype[np.float64]]"
    chunk: int = 200

    def __call__(self, chunk_number: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
        rng = payments(1000 + chunk_number)
        data = np.array(list(itertools.islice(rng, self.chunk)))
        labels = np.array([is_fraud(payment) for payment in data], dtype=float)
        error = 1 / (1 + np.exp(-data @ self.weights)) - labels
        gradient: np.ndarray[Any, np.dtype[np.float64]] = data.T @ error / self.chunk
        return gradient


def train(client: Client, latest: Latest, chunks: int, stop: threading.Event) -> None:
    """Train until told to stop; every step is a batch job over the whole history."""
    while not stop.is_set():
        model = latest.model
        job = client.job(f"train-{model.version + 1}", priority="batch")
        gradients = job.map(Gradient(model.weights), range(chunks), partitions=PARTS)
        total = gradients.reduce(lambda a, b: a + b).result()
        latest.model = Model(model.version + 1, model.weights - 4.0 * total / chunks)


@dataclass(frozen=True)
class Report:
    """One micro-batch of payments that were scored."""

    payments: int
    flagged: int
    right: int
    version: int
    latency: float


def detect(client: Client, seconds: float, rate: float, chunks: int) -> Iterator[Report]:
    """Train and score side by side; a report per micro-batch."""
    latest, stop = Latest(), threading.Event()
    errors: list[BaseException] = []

    def training() -> None:
        try:
            train(client, latest, chunks, stop)
        except BaseException as error:
            errors.append(error)

    trainer = threading.Thread(target=training)
    trainer.start()
    came = list(itertools.islice(payments(1), int(seconds * rate)))
    stream = client.stream(Generator(came, rate), "score").map(latest)
    try:
        with stream.every(0.5) as batches:
            start = 0
            for batch in batches:
                truth = [is_fraud(payment) for payment in came[start : start + batch.records]]
                start += batch.records
                flagged = [score > 0.5 for _, score in batch.result]
                right = sum(a == b for a, b in zip(flagged, truth, strict=True))
                version = batch.result[0][0]
                yield Report(batch.records, sum(flagged), right, version, batch.latency)
    finally:
        stop.set()
        trainer.join()
    if errors:
        raise errors[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=400.0, help="payments per second")
    parser.add_argument("--chunks", type=int, default=400, help="size of the history")
    parser.add_argument("--policy", default="lma", help="on this machine only")
    parser.add_argument("--cluster", action="store_true", help="use a cluster's executors")
    arguments = parser.parse_args()
    settings: dict[str, Any] = {}
    cluster = arguments.cluster or "COLCHIS_JOBS" in os.environ
    if not cluster:
        # Imported before processes are forked, so that no payment waits for an import.
        settings = {"policy": arguments.policy, "executor_settings": {"preload": ["numpy"]}}
    with colchis.jobs.connect(None if cluster else "local", **settings) as client:
        for report in detect(client, arguments.seconds, arguments.rate, arguments.chunks):
            print(
                f"{report.payments:5} payments  {report.flagged:5} flagged  "
                f"{report.right / report.payments:6.1%} right  model {report.version:3}  "
                f"{report.latency * 1e3:7.1f} ms",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
