"""All parameter servers together, as workers and the chief see them."""

import numpy as np
from tf_discovery import Lookup
from tf_model import Vector, from_bytes, slice_bounds, to_bytes
from tf_wire import Message, Peer, RefusedError

GROUP = "ps"


class Parameters:
    """The parameter vector, in slices on ``servers`` parameter servers."""

    def __init__(self, lookup: Lookup, servers: int) -> None:
        self._bounds = [slice_bounds(index, servers) for index in range(servers)]
        self._peers = [Peer(lookup, GROUP, index) for index in range(servers)]

    def pull(self, within: float = 60.0) -> tuple[Vector, list[Message]]:
        """The newest parameters, with ``step`` and ``epoch`` of each slice.

        Raises UnreachableError, and RefusedError "empty" from a server that was not filled yet.
        """
        parts, stamps = [], []
        for peer, (low, high) in zip(self._peers, self._bounds, strict=True):
            stamp, data = peer.call("pull", within=within)
            parts.append(from_bytes(data, high - low))
            stamps.append({"step": int(stamp["step"]), "epoch": str(stamp["epoch"])})
        return np.concatenate(parts), stamps

    def push(self, gradient: Vector, stamps: list[Message], worker: str, within: float) -> int:
        """Apply a gradient computed on a pull with these stamps; how many slices took it.

        A slice refuses a gradient that is too old for it. Raises UnreachableError.
        """
        applied = 0
        for peer, (low, high), stamp in zip(self._peers, self._bounds, stamps, strict=True):
            data = to_bytes(gradient[low:high])
            try:
                peer.call("push", data, within=within, worker=worker, **stamp)
                applied += 1
            except RefusedError as refusal:
                if refusal.code not in {"stale", "empty"}:
                    raise
        return applied

    def fill(self, parameters: Vector, step: int, within: float = 60.0) -> int:
        """Give the servers that are empty their slices; how many were. Raises UnreachableError."""
        filled = 0
        for index, (peer, (low, high)) in enumerate(zip(self._peers, self._bounds, strict=True)):
            data = to_bytes(parameters[low:high])
            reply, _ = peer.call("fill", data, within=within, step=step, index=index)
            filled += bool(reply["filled"])
        return filled

    def status(self, within: float = 60.0) -> list[Message]:
        """What each server says of itself. Raises UnreachableError."""
        return [peer.call("status", within=within)[0] for peer in self._peers]

    def close(self) -> None:
        for peer in self._peers:
            peer.close()
