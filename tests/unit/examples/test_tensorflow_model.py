"""The model's arithmetic and one parameter server, asked directly."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from parameter_server import ParameterServer
from tf_model import (
    SIZE,
    Task,
    Vector,
    evaluate,
    from_bytes,
    gradient,
    initial_parameters,
    slice_bounds,
    to_bytes,
)
from tf_wire import Message, RefusedError


def test_gradient_agrees_with_finite_differences() -> None:
    rng = np.random.default_rng(0)
    inputs, labels = Task(1).batch(rng, 64)
    # In 64 bits, for differences of 32-bit losses are mostly rounding.
    parameters: Any = initial_parameters(1).astype(np.float64)
    exact = gradient(initial_parameters(1), inputs, labels)
    step = 1e-5
    for at in rng.integers(0, SIZE, 40):
        change = np.zeros(SIZE)
        change[at] = step
        up, _ = evaluate(parameters + change, inputs, labels)
        down, _ = evaluate(parameters - change, inputs, labels)
        assert exact[at] == pytest.approx((up - down) / (2 * step), abs=2e-4)


def test_descent_learns_the_task() -> None:
    task, rng = Task(1), np.random.default_rng(0)
    inputs, labels = task.batch(np.random.default_rng(2), 1000)
    parameters = initial_parameters(1)
    loss, accuracy = evaluate(parameters, inputs, labels)
    for _ in range(400):
        parameters = parameters - np.float32(0.05) * gradient(parameters, *task.batch(rng, 64))
    trained_loss, trained_accuracy = evaluate(parameters, inputs, labels)
    assert trained_loss < loss / 2
    assert trained_accuracy > 0.6 > accuracy


@pytest.mark.parametrize("servers", [1, 2, 3, 7])
def test_slices_cover_the_vector_once(servers: int) -> None:
    bounds = [slice_bounds(index, servers) for index in range(servers)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == SIZE
    assert all(a[1] == b[0] for a, b in pairwise(bounds))
    with pytest.raises(ValueError, match="no parameter server"):
        slice_bounds(servers, servers)


@pytest.mark.parametrize("data", [b"", b"123", b"\0" * 12, to_bytes(np.array([np.nan, 1.0], "f4"))])
def test_what_is_not_a_vector_of_the_right_size_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_bytes(data, 2)


def vector(*values: float) -> Vector:
    return np.array(values, dtype=np.float32)


def ask(
    server: ParameterServer, op: str, data: bytes = b"", **fields: object
) -> tuple[Message, bytes]:
    return server.handle({"op": op, **fields}, data)


def filled(step: int = 0) -> ParameterServer:
    server = ParameterServer(2, rate=0.5, max_staleness=1)
    ask(server, "fill", to_bytes(vector(1.0, 2.0)), step=step)
    return server


def test_an_empty_server_says_so_and_is_filled_once() -> None:
    server = ParameterServer(2, rate=0.5, max_staleness=1)
    with pytest.raises(RefusedError, match="empty"):
        ask(server, "pull")
    assert ask(server, "fill", to_bytes(vector(1.0, 2.0)), step=9)[0]["filled"] is True
    assert ask(server, "fill", to_bytes(vector(7.0, 7.0)), step=0)[0]["filled"] is False
    stamp, data = ask(server, "pull")
    assert stamp["step"] == 9
    assert from_bytes(data, 2).tolist() == [1.0, 2.0]


def test_a_gradient_moves_the_parameters_against_it() -> None:
    server = filled()
    stamp, _ = ask(server, "pull")
    ask(server, "push", to_bytes(vector(1.0, -2.0)), worker="w", **stamp)
    stamp, data = ask(server, "pull")
    assert stamp["step"] == 1
    assert from_bytes(data, 2).tolist() == [0.5, 3.0]
    assert ask(server, "status")[0]["workers"] == {"w": 1}


def test_gradients_too_old_or_of_another_life_change_nothing() -> None:
    server = filled()
    old, _ = ask(server, "pull")
    push = to_bytes(vector(0.0, 0.0))
    for _ in range(2):
        ask(server, "push", push, worker="w", **ask(server, "pull")[0])
    other_life = ask(filled(step=2), "pull")[0]
    for stamp in (old, other_life):
        with pytest.raises(RefusedError, match="stale"):
            ask(server, "push", to_bytes(vector(9.0, 9.0)), worker="w", **stamp)
    assert from_bytes(ask(server, "pull")[1], 2).tolist() == [1.0, 2.0]
    assert ask(server, "status")[0]["refused"] == 2


def test_a_gradient_of_the_wrong_size_is_refused() -> None:
    server = filled()
    with pytest.raises(ValueError, match="expected 2"):
        ask(server, "push", to_bytes(vector(1.0)), worker="w", **ask(server, "pull")[0])
