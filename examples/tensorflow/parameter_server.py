"""Holds a slice of the model's parameters and applies the gradients that workers send.

Asynchronous gradient descent after Dean et al., "Large Scale Distributed Deep Networks", NIPS 2012,
section 4.1 (Downpour SGD): a gradient is applied when it comes, whatever happened since its pull.
"""

import argparse
import os
import secrets
import threading
from collections import Counter

from tf_model import Vector, from_bytes, slice_bounds, to_bytes
from tf_wire import Message, RefusedError, Server, end_on_sigterm


class ParameterServer:
    """A slice of the parameters. ``step`` counts the gradients that were applied to it.

    ``epoch`` names one life of the slice: what was pulled in another life is worthless in this one.
    A gradient more than ``max_staleness`` steps old is refused: a worker that was frozen for long
    would otherwise push the model back to where it was.
    """

    def __init__(self, size: int, rate: float, max_staleness: int) -> None:
        self._size = size
        self._rate = rate
        self._max_staleness = max_staleness
        self._lock = threading.Lock()
        self._parameters: Vector | None = None
        self._step = 0
        self._epoch = ""
        self._refused = 0
        self._total_staleness = 0
        self._by_worker: Counter[str] = Counter()

    def handle(self, request: Message, payload: bytes) -> tuple[Message, bytes]:
        """The answer to one request. Raises RefusedError; ValueError etc. when it is malformed."""
        op = request["op"]
        with self._lock:
            if op == "pull":
                return self._stamp(), to_bytes(self._filled())
            if op == "push":
                return self._push(request, payload), b""
            if op == "fill":
                return self._fill(request, payload), b""
            if op == "status":
                return self._status(), b""
        raise RefusedError("bad-request", f"no operation {op!r}")

    def _filled(self) -> Vector:
        if self._parameters is None:
            raise RefusedError("empty", "the chief has not filled this server yet")
        return self._parameters

    def _stamp(self) -> Message:
        return {"step": self._step, "epoch": self._epoch}

    def _fill(self, request: Message, payload: bytes) -> Message:
        if self._parameters is not None:
            return {"filled": False}
        step = int(request["step"])
        self._parameters = from_bytes(payload, self._size)
        self._step = step
        self._epoch = secrets.token_hex(8)
        return {"filled": True}

    def _push(self, request: Message, payload: bytes) -> Message:
        parameters = self._filled()
        gradient = from_bytes(payload, self._size)
        worker = str(request["worker"])
        staleness = self._step - int(request["step"])
        if request["epoch"] != self._epoch or not 0 <= staleness <= self._max_staleness:
            self._refused += 1
            raise RefusedError("stale", f"{staleness} steps old")
        self._parameters = parameters - self._rate * gradient
        self._step += 1
        self._total_staleness += staleness
        self._by_worker[worker] += 1
        return self._stamp()

    def _status(self) -> Message:
        applied = sum(self._by_worker.values())
        return {
            **self._stamp(),
            "size": self._size,
            "filled": self._parameters is not None,
            "refused": self._refused,
            "mean_staleness": round(self._total_staleness / applied, 3) if applied else 0.0,
            "workers": dict(sorted(self._by_worker.items())),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=os.environ.get("COLCHIS_HOST", "127.0.0.1"))
    parser.add_argument("--port", type=int, default=int(os.environ.get("COLCHIS_PORT", "0")))
    parser.add_argument("--index", type=int, default=int(os.environ.get("COLCHIS_INDEX", "0")))
    parser.add_argument("--servers", type=int, default=1, help="parameter servers in all")
    parser.add_argument("--rate", type=float, default=0.05, help="learning rate")
    parser.add_argument("--max-staleness", type=int, default=64, help="in steps")
    options = parser.parse_args()
    end_on_sigterm()
    low, high = slice_bounds(options.index, options.servers)
    parameter_server = ParameterServer(high - low, options.rate, options.max_staleness)
    with Server(options.host, options.port, parameter_server.handle) as server:
        print(f"parameters {low} to {high} at port {server.server_address[1]}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
