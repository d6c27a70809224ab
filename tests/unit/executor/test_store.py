"""The store's thread outlives what slots and disks do to it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from colchis.jobs.sockets import PlainSockets
from colchis.wire.work import EPOCH_SHIFT, STORE, Data, Get, Kept, Put, StoreMessage
from colchis_agent.executor.store import Store
from tests.support import DEADLINE, wait_for

EPOCH = 7
SIZE = 1000


class Slot:
    """A slot's line to the store that does not wait for ever."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", address: str) -> None:
        self.socket = PlainSockets().connect(context, address)

    def ask(self, message: Get | Put) -> StoreMessage:
        self.socket.send(STORE.encode(message))
        assert self.socket.poll(round(DEADLINE * 1000)), f"no answer to {message}"
        return STORE.decode(self.socket.recv())

    def put(self, *keys: str) -> None:
        for key in keys:
            assert self.ask(Put(key, key.encode() * SIZE)) == Kept(key)

    def has(self, key: str) -> bool:
        answer = self.ask(Get(key))
        assert isinstance(answer, Data)
        assert answer.data in (None, key.encode() * SIZE)
        return answer.data is not None


@contextmanager
def opened(folder: Path, memory: int) -> Iterator[tuple[Store, Slot]]:
    with zmq.Context() as context:
        local = f"ipc://{folder}/store"
        store = Store(
            context,
            PlainSockets(),
            folder=folder,
            local=local,
            bind="tcp://127.0.0.1:*",
            host="",
            memory=memory,
        )
        slot = Slot(context, local)
        try:
            yield store, slot
        finally:
            slot.socket.close(0)
            store.close()


@pytest.mark.parametrize("file_instead", [False, True])
def test_slots_are_answered_when_the_disk_fails(tmp_path: Path, file_instead: bool) -> None:
    with opened(tmp_path, memory=7 * SIZE) as (store, slot):
        slot.put("1.0", "2.0", "3.0")
        assert store.spilled == 3 * SIZE
        shutil.rmtree(tmp_path / "spill")
        if file_instead:
            (tmp_path / "spill").touch()
        slot.put("4.0", "5.0", "6.0")
        assert [slot.has(f"{n}.0") for n in range(1, 7)] == [False, True, True, True, True, True]
        assert store.spilled == 3 * SIZE
        assert store.held == 5 * 3 * SIZE


def test_names_that_no_attempt_has(tmp_path: Path) -> None:
    old, ours = f"{3 << EPOCH_SHIFT}.0", f"{EPOCH << EPOCH_SHIFT}.0"
    odd = ["nobody's", "-1.0", "1_0.0", "²", f"{EPOCH << EPOCH_SHIFT}x.0"]
    with opened(tmp_path, memory=10**6) as (store, slot):
        slot.put(*odd, old, ours)
        store.keep_only(EPOCH, set())
        wait_for(lambda: not any(slot.has(key) for key in (*odd, old)))
        assert slot.has(ours)
