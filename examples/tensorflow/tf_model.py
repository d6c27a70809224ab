"""A multilayer perceptron in numpy, with its data, and its parameters as one flat vector.

The vector is what parameter servers share out: server i of n holds the i-th of n even slices.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Labels = NDArray[np.int64]

FEATURES = 32
HIDDEN = 64
CLASSES = 10
SHAPES = ((FEATURES, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))
SIZE = sum(int(np.prod(shape)) for shape in SHAPES)
WIRE_TYPE = np.dtype("<f4")


def slice_bounds(index: int, servers: int) -> tuple[int, int]:
    """The part of the parameter vector that server ``index`` of ``servers`` holds."""
    if not 0 <= index < servers:
        raise ValueError(f"there is no parameter server {index} of {servers}")
    return index * SIZE // servers, (index + 1) * SIZE // servers


def to_bytes(vector: Vector) -> bytes:
    return vector.astype(WIRE_TYPE).tobytes()


def from_bytes(data: bytes, size: int) -> Vector:
    """Raises ValueError unless ``data`` is ``size`` finite numbers."""
    vector = np.frombuffer(data, dtype=WIRE_TYPE).astype(np.float32)
    if vector.size != size or not np.isfinite(vector).all():
        raise ValueError(f"expected {size} finite numbers, got {vector.size}")
    return vector


def initial_parameters(seed: int) -> Vector:
    """He initialisation: weights of variance 2/inputs, biases 0 (He et al., ICCV 2015, 2.2)."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.normal(0.0, np.sqrt(2.0 / shape[0]), shape).ravel()
        if len(shape) == 2
        else np.zeros(shape)
        for shape in SHAPES
    ]
    return np.concatenate(parts).astype(np.float32)


def _unpack(parameters: Vector) -> list[Vector]:
    sizes = [int(np.prod(shape)) for shape in SHAPES]
    parts = np.split(parameters, np.cumsum(sizes)[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, SHAPES, strict=True)]


def _forward(parameters: Vector, inputs: Vector) -> tuple[Vector, Vector]:
    """The hidden layer's output and the probabilities of the classes."""
    w1, b1, w2, b2 = _unpack(parameters)
    hidden = np.maximum(inputs @ w1 + b1, 0.0)
    scores = hidden @ w2 + b2
    # Shifted by the greatest, so that exp cannot overflow.
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, exponentials / exponentials.sum(axis=1, keepdims=True)


def evaluate(parameters: Vector, inputs: Vector, labels: Labels) -> tuple[float, float]:
    """Mean cross-entropy in nats, and the share of inputs classified right."""
    _, probabilities = _forward(parameters, inputs)
    of_label = probabilities[np.arange(len(labels)), labels]
    loss = float(-np.log(np.maximum(of_label, 1e-12)).mean())
    return loss, float((probabilities.argmax(axis=1) == labels).mean())


def gradient(parameters: Vector, inputs: Vector, labels: Labels) -> Vector:
    """Gradient of the mean cross-entropy, by back-propagation."""
    _, _, w2, _ = _unpack(parameters)
    hidden, probabilities = _forward(parameters, inputs)
    d_scores = probabilities.copy()
    d_scores[np.arange(len(labels)), labels] -= 1.0
    d_scores /= len(labels)
    d_hidden = (d_scores @ w2.T) * (hidden > 0.0)
    parts = (inputs.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ d_scores, d_scores.sum(axis=0))
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


@dataclass(frozen=True)
class Task:
    """What is to be learnt: two noisy clouds of points per class, so that no straight cut will do.

    Everyone who knows the seed draws from the same clouds; batches never repeat.
    """

    seed: int
    noise: float = 1.0

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Vector, Labels]:
        centres = np.random.default_rng(self.seed).normal(0.0, 0.6, (2 * CLASSES, FEATURES))
        clouds = rng.integers(0, 2 * CLASSES, size)
        inputs = centres[clouds] + rng.normal(0.0, self.noise, (size, FEATURES))
        return inputs.astype(np.float32), (clouds % CLASSES).astype(np.int64)
