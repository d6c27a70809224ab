"""Computes gradients on batches of its own and sends them to the parameter servers, for ever."""

import argparse
import os
import time

import numpy as np
from tf_cluster import Parameters
from tf_discovery import Backoff, Lookup
from tf_model import Task, gradient
from tf_wire import RefusedError, UnreachableError, end_on_sigterm


def work(
    parameters: Parameters, task: Task, name: str, batch: int, pause: float, steps: int
) -> None:
    """Take ``steps`` steps (0: no end), whatever becomes of the parameter servers meanwhile."""
    rng = np.random.default_rng()
    backoff = Backoff()
    taken = 0
    while not steps or taken < steps:
        try:
            vector, stamps = parameters.pull()
            inputs, labels = task.batch(rng, batch)
            parameters.push(gradient(vector, inputs, labels), stamps, name, within=10.0)
        except (UnreachableError, RefusedError, ValueError) as error:
            print(f"waiting: {error}", flush=True)
            backoff.wait()
            continue
        backoff.reset()
        taken += 1
        if taken % 500 == 0:
            print(f"{taken} steps", flush=True)
        time.sleep(pause)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", type=int, default=1, help="parameter servers in all")
    parser.add_argument("--batch", type=int, default=64, help="examples per step")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two steps")
    parser.add_argument("--steps", type=int, default=0, help="steps to take; 0: no end")
    parser.add_argument("--seed", type=int, default=1, help="names the task; the same for all")
    options = parser.parse_args()
    end_on_sigterm()
    parameters = Parameters(Lookup.from_environment(), options.servers)
    name = os.environ.get("COLCHIS_CONTAINER", "tensorflow/worker/0")
    work(parameters, Task(options.seed), name, options.batch, options.pause, options.steps)


if __name__ == "__main__":
    main()
