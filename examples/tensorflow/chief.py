"""Fills the parameter servers, measures the model as it is trained, and answers how it goes.

Prints one JSON object per measurement. Its last pull is the checkpoint from which a parameter
server that lost its memory is filled again.
"""

import argparse
import json
import os
import threading
import time
from collections import deque

import numpy as np
from tf_cluster import Parameters
from tf_discovery import Backoff, Lookup
from tf_model import Task, Vector, evaluate, initial_parameters
from tf_wire import Message, RefusedError, Server, UnreachableError, end_on_sigterm

HISTORY = 100
EXAMPLES = 1000


class Chief:
    """Measures at intervals; one thread calls ``measure``, any number ask ``handle``."""

    def __init__(self, parameters: Parameters, seed: int) -> None:
        self._parameters = parameters
        self._checkpoint: Vector = initial_parameters(seed)
        self._step = 0
        # Drawn once and apart from the workers' batches, so that losses can be compared.
        self._inputs, self._labels = Task(seed).batch(np.random.default_rng(seed + 1), EXAMPLES)
        self._lock = threading.Lock()
        self._first: Message | None = None
        self._history: deque[Message] = deque(maxlen=HISTORY)
        self._servers: list[Message] = []
        self._refills = 0

    def handle(self, request: Message, _payload: bytes = b"") -> tuple[Message, bytes]:
        """The answer to ``status``: the first and the newest measurement and those between."""
        if request["op"] != "status":
            raise RefusedError("bad-request", f"no operation {request['op']!r}")
        with self._lock:
            newest = self._history[-1] if self._history else None
            return {
                "step": newest["step"] if newest else 0,
                "loss": newest["loss"] if newest else None,
                "accuracy": newest["accuracy"] if newest else None,
                "initial_loss": self._first["loss"] if self._first else None,
                "history": list(self._history),
                "refills": self._refills,
                "servers": self._servers,
            }, b""

    def measure(self) -> Message:
        """Fill what is empty, evaluate the newest parameters. UnreachableError, RefusedError."""
        filled = self._parameters.fill(self._checkpoint, self._step)
        with self._lock:
            self._refills += filled
        vector, stamps = self._parameters.pull()
        servers = self._parameters.status()
        loss, accuracy = evaluate(vector, self._inputs, self._labels)
        measured = {
            "time": round(time.time(), 3),
            "step": min(stamp["step"] for stamp in stamps),
            "loss": round(loss, 5),
            "accuracy": round(accuracy, 4),
        }
        self._checkpoint, self._step = vector, measured["step"]
        with self._lock:
            self._first = self._first or measured
            self._history.append(measured)
            self._servers = servers
        return measured

    def run(self, interval: float) -> None:
        """Measure for ever, every ``interval`` seconds."""
        backoff = Backoff()
        while True:
            try:
                print(json.dumps(self.measure()), flush=True)
            except (UnreachableError, RefusedError, ValueError) as error:
                print(
                    json.dumps({"time": round(time.time(), 3), "waiting": str(error)}), flush=True
                )
                backoff.wait()
                continue
            backoff.reset()
            time.sleep(interval)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("COLCHIS_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("COLCHIS_PORT", "0")))
    parser.add_argument("--servers", type=int, default=1, help="parameter servers in all")
    parser.add_argument("--interval", type=float, default=0.5, help="seconds between measurements")
    parser.add_argument("--seed", type=int, default=1, help="names the task; the same for all")
    options = parser.parse_args()
    end_on_sigterm()
    chief = Chief(Parameters(Lookup.from_environment(), options.servers), options.seed)
    threading.Thread(target=chief.run, args=(options.interval,), daemon=True).start()
    with Server(options.host, options.port, chief.handle) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
