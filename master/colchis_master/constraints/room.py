"""What is free on each node, in columns: thousands of nodes are compared with a need at once."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from colchis.model.resources import Resources

T = TypeVar("T", bound=np.generic)

FIRST = 64
"""Nodes for which there is a place at first."""

MOST = 2**62
"""More than any node has of anything; a snapshot in a file may say otherwise."""


class FreeRoom:
    """Amounts by node and resource; a closed node takes nothing new."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._names: list[str] = []
        self._open: NDArray[np.bool_] = np.zeros(FIRST, dtype=np.bool_)
        self._free: dict[str, NDArray[np.int64]] = {}

    def put(self, node: str, free: Mapping[str, int], *, is_open: bool) -> None:
        """A node is new, or all of it is other than before."""
        row = self._rows.setdefault(node, len(self._names))
        if row == len(self._names):
            self._names.append(node)
            if row == len(self._open):
                self._open = _doubled(self._open)
                self._free = {name: _doubled(column) for name, column in self._free.items()}
        for column in self._free.values():
            column[row] = 0
        for name, amount in free.items():
            self.note(node, name, amount)
        self._open[row] = is_open

    def set_open(self, node: str, is_open: bool) -> None:
        """Whether a node takes new containers."""
        self._open[self._rows[node]] = is_open

    def note(self, node: str, resource: str, amount: int) -> None:
        """So much is free of a resource."""
        column = self._free.get(resource)
        if column is None:
            column = self._free[resource] = np.zeros(len(self._open), dtype=np.int64)
        column[self._rows[node]] = max(-MOST, min(amount, MOST))

    def fitting(self, need: Resources) -> set[str]:
        """Open nodes that have all of it."""
        fits = self._open.copy()
        for name, amount in need.amounts:
            column = self._free.get(name)
            if column is None:
                return set()
            fits &= column >= amount
        return {self._names[row] for row in np.flatnonzero(fits).tolist()}

    def most(self, resource: str) -> int:
        """The most that an open node has of a resource; 0 where none is open."""
        column = self._free.get(resource)
        if column is None or not self._open.any():
            return 0
        return int(column[self._open].max())


def _doubled(column: NDArray[T]) -> NDArray[T]:
    return np.concatenate((column, np.zeros_like(column)))
