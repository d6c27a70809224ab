"""A parameter sweep: the learning rate and the penalty that fit a model best, all tried at once.

    python examples/sweep/sweep.py [--cluster]

Runs on this machine; with --cluster, or in a container of an app that may submit jobs, on a
cluster. Uses nothing but the standard executor interface: what runs on
``concurrent.futures.ProcessPoolExecutor`` runs here.
"""

import argparse
import itertools
import os
from concurrent.futures import Executor

import numpy as np

import colchis.jobs

RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
PENALTIES = (0.0, 0.001, 0.01, 0.1)


def loss(rate: float, penalty: float, steps: int = 200) -> float:
    """Error on data kept apart, of a logistic regression fitted by gradient descent."""
    rng = np.random.default_rng(7)
    truth = rng.normal(size=12) * (rng.random(12) < 0.5)
    data = rng.normal(size=(600, 12))
    labels = (data @ truth + rng.normal(size=600) > 0).astype(float)
    weights = np.zeros(12)
    for _ in range(steps):
        error = 1 / (1 + np.exp(-data[:400] @ weights)) - labels[:400]
        weights -= rate * (data[:400].T @ error / 400 + penalty * weights)
    found = np.clip(1 / (1 + np.exp(-data[400:] @ weights)), 1e-9, 1 - 1e-9)
    kept = labels[400:]
    return float(-np.mean(kept * np.log(found) + (1 - kept) * np.log(1 - found)))


def sweep(executor: Executor) -> list[tuple[float, float, float]]:
    """(loss, rate, penalty) of every combination, best first."""
    grid = list(itertools.product(RATES, PENALTIES))
    losses = executor.map(loss, *zip(*grid, strict=True))
    return sorted((found, *point) for found, point in zip(losses, grid, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cluster", action="store_true", help="use a cluster's executors")
    cluster = parser.parse_args().cluster or "COLCHIS_JOBS" in os.environ
    with colchis.jobs.connect(None if cluster else "local") as client:
        for found, rate, penalty in sweep(client)[:5]:
            print(f"loss {found:.4f}  rate {rate:<6} penalty {penalty}")


if __name__ == "__main__":
    main()
