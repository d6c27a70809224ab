"""Lines over Unix sockets: whole messages or none, whatever the peer does."""

import errno
import math
import os
import resource
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.errors import InputError
from colchis.wire import unix
from colchis.wire.codec import WireError
from colchis.wire.lines import Line
from colchis.wire.unix import Reader, UnixLine, UnixServer, packed
from colchis.wire.work import MAX_MESSAGE
from tests.support import DEADLINE, wait_for

LENGTH = struct.Struct("<I")


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix://{tmp_path}/s"


@pytest.fixture
def server(address: str) -> Iterator[UnixServer]:
    made = UnixServer(address)
    yield made
    made.close(0)


@pytest.fixture
def line(server: UnixServer, address: str) -> Iterator[UnixLine]:
    made = UnixLine(address)
    yield made
    made.close(0)


def turn(end: Line) -> list[list[bytes]]:
    """What one look at an end brings."""
    select.select([end.source], [], [], 0.02)
    end.again()
    return list(end.arrived(10))


def take(end: Line, number: int, meanwhile: Callable[[], object] = list) -> list[bytes]:
    """So many frames at least, after the routing id at a server's end."""
    frames: list[bytes] = []
    deadline = time.monotonic() + DEADLINE
    while len(frames) < number:
        assert time.monotonic() < deadline, f"{len(frames)} of {number} frames came"
        for message in turn(end):
            frames += message[isinstance(end, UnixServer) :]
        meanwhile()
    return frames


def greeted(server: UnixServer, line: Line, name: bytes = b"hello") -> bytes:
    """The routing id of a line."""
    assert line.send([name])
    found: list[bytes] = []

    def look() -> bool:
        for routing, *frames in turn(server):
            if name in frames:
                found.append(routing)
        return bool(found)

    wait_for(look)
    return found[0]


def raw(address: str) -> socket.socket:
    """A peer that sends whatever it likes."""
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(DEADLINE)
    made.connect(address.removeprefix("unix://"))
    return made


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 60)))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[bytes], cuts: list[int]
) -> None:
    stream = packed(frames)
    reader, out, at = Reader(), list[bytes](), 0
    for cut in [*cuts, len(stream)]:
        out += reader.feed(stream[at : at + cut])
        at += cut
        assert out == frames[: len(out)]
    assert out == frames


@given(st.lists(st.binary(max_size=9)), st.integers(10, 2**32 - 1), st.integers(1, 70))
def test_too_long_a_frame_is_refused_after_those_before_it(
    frames: list[bytes], length: int, cut: int
) -> None:
    stream = packed(frames) + LENGTH.pack(length)
    reader, out = Reader(limit=9), list[bytes]()
    with pytest.raises(WireError, match=f"frame of {length} bytes; at most 9"):
        for at in range(0, len(stream), cut):
            for frame in reader.feed(stream[at : at + cut]):
                out.append(frame)
    assert out == frames


def test_each_peer_is_answered_on_its_own_connection(server: UnixServer, address: str) -> None:
    lines = [UnixLine(address) for _ in range(3)]
    ids = [greeted(server, one, b"%d" % number) for number, one in enumerate(lines)]
    assert len(set(ids)) == 3
    for number, routing in enumerate(ids):
        assert server.send([routing, b"to %d" % number, b""])
    for number, one in enumerate(lines):
        assert take(one, 2) == [b"to %d" % number, b""]
        assert [*one.identified(1)] == []
        one.close(0)


def test_who_is_gone_is_not_sent_anything(server: UnixServer, address: str) -> None:
    one = UnixLine(address)
    routing = greeted(server, one)
    one.close(0)
    wait_for(lambda: [*turn(server)] or not server.send([routing, b"x"]))
    assert not server.send([b"never seen", b"x"])


@pytest.mark.parametrize(
    "wrong", ["unix://relative", "unix://", "unix:///a\0b", "unix:///" + 110 * "x"]
)
def test_addresses_that_are_none(wrong: str) -> None:
    for end in UnixLine, UnixServer:
        with pytest.raises(InputError, match="absolute path of 106 bytes at most"):
            end(wrong)


def test_socket_file_is_private_and_goes_with_its_server(address: str) -> None:
    path = Path(address.removeprefix("unix://"))
    first = UnixServer(address)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    second = UnixServer(address)
    first.close(0)
    assert path.is_socket(), "it is the successor's"
    one = UnixLine(address)
    greeted(second, one)
    one.close(0)
    second.close(0)
    assert not path.exists()


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        UnixServer(f"unix://{tmp_path}/none/s")


@pytest.mark.parametrize("nonsense", [LENGTH.pack(MAX_MESSAGE + 1), b"GET / HTTP/1.1\r\n\r\n"])
def test_who_sends_nonsense_is_cut_off_and_nobody_else(
    server: UnixServer, line: UnixLine, address: str, nonsense: bytes
) -> None:
    routing = greeted(server, line)
    with raw(address) as peer:
        peer.sendall(packed([b"sense"]) + nonsense)
        assert take(server, 1) == [b"sense"]
        assert peer.recv(1) == b""
    [fault] = server.faults
    assert fault.routing not in (routing, b"")
    assert "frame of" in str(fault.error)
    assert server.send([routing, b"still there"])
    assert take(line, 1) == [b"still there"]


@contextmanager
def no_descriptors() -> Iterator[None]:
    """No file can be opened here unless another is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def refuse(server: UnixServer) -> None:
    """Have a server look who wants to connect, and find that it cannot let them in."""
    assert select.select([server.source], [], [], DEADLINE)[0]
    assert [*server.arrived(10)] == []
    [fault] = server.faults
    assert isinstance(fault.error, OSError) and fault.error.errno == errno.EMFILE
    assert not select.select([server.source], [], [], 0)[0], "it would be polled again and again"


def test_who_cannot_be_let_in_is_when_somebody_leaves(server: UnixServer, address: str) -> None:
    guest = raw(address)
    guest.sendall(packed([b"early"]))
    assert take(server, 1) == [b"early"]
    with raw(address) as peer:
        peer.sendall(packed([b"late"]))
        with no_descriptors():
            refuse(server)
            guest.close()
            [*server.arrived(10)]
            [*server.arrived(10)]
            assert take(server, 1) == [b"late"]
    assert len(server.faults) == 1 and server.due == math.inf


def test_who_cannot_be_let_in_is_tried_again(
    server: UnixServer, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix, "REST", 0.0)
    with raw(address) as peer:
        peer.sendall(packed([b"late"]))
        with no_descriptors():
            refuse(server)
        assert server.due <= time.monotonic()
        assert take(server, 1) == [b"late"]
    assert server.due == math.inf


def test_half_a_message_is_none(server: UnixServer, address: str) -> None:
    with raw(address) as peer:
        peer.sendall(packed([b"whole", b"half"])[:-1])
        assert take(server, 1) == [b"whole"]
    with raw(address) as peer:
        peer.sendall(packed([b"next"]))
        assert take(server, 1) == [b"next"]


def test_server_that_speaks_nonsense_is_left_and_called_again(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.removeprefix("unix://"))
        listener.listen()
        line = UnixLine(address)
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(LENGTH.pack(2**32 - 1))
            wait_for(lambda: [*turn(line)] or line.due < math.inf)
        again: list[socket.socket] = []
        listener.setblocking(False)

        def called() -> bool:
            turn(line)
            with suppress(BlockingIOError):
                again.append(listener.accept()[0])
            return bool(again)

        wait_for(called)
        again[0].close()
        line.close(0)


def test_what_is_long_goes_in_parts_and_nobody_waits(server: UnixServer, line: UnixLine) -> None:
    routing = greeted(server, line)
    long = [os.urandom(3_000_000), os.urandom(5), os.urandom(4_000_000)]
    # Nobody reads yet, so this would wait if it could.
    assert server.send([routing, *long])
    assert server.send([routing, b"end"])
    assert take(line, 4, lambda: turn(server)) == [*long, b"end"]
    assert line.send(long)
    assert line.send([b"end"])
    assert take(server, 4, lambda: turn(line)) == [*long, b"end"]


def test_too_long_a_frame_is_not_sent(server: UnixServer, line: UnixLine) -> None:
    routing = greeted(server, line)
    long = bytes(MAX_MESSAGE + 1)
    with pytest.raises(WireError, match="at most"):
        line.send([long])
    with pytest.raises(WireError, match="at most"):
        server.send([routing, long])
    greeted(server, line, b"unharmed")


def test_slow_peer_is_sent_no_more_than_may_wait(
    server: UnixServer, line: UnixLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix, "QUEUE", 20)
    routing = greeted(server, line)

    def fill(send: Callable[[bytes], bool]) -> list[bytes]:
        taken: list[bytes] = []
        while send(data := b"%d" % len(taken) + bytes(100_000)):
            taken.append(data)
            assert len(taken) < 100
        return taken

    def to_line(data: bytes) -> bool:
        return server.send([routing, data])

    def to_server(data: bytes) -> bool:
        return line.send([data])

    for send, to, sender in (to_line, line, server), (to_server, server, line):
        taken = fill(send)
        assert len(taken) >= 20
        assert take(to, len(taken), lambda end=sender: turn(end)) == taken  # type: ignore[misc]
        assert send(b"room again")
        assert take(to, 1, lambda end=sender: turn(end)) == [b"room again"]  # type: ignore[misc]


def test_messages_wait_for_a_server_up_to_a_number(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unix, "QUEUE", 3)
    line = UnixLine(address)
    assert [line.send([b"%d" % n]) for n in range(5)] == [True, True, True, False, False]
    server = UnixServer(address)
    assert take(server, 3, lambda: turn(line)) == [b"0", b"1", b"2"]
    assert take(server, 1, lambda: line.send([b"on"]))[0] == b"on"
    server.close(0)
    line.close(0)


KILLED = """
import sys, select
from colchis.wire.unix import UnixServer
server = UnixServer(sys.argv[1])
while True:
    select.select([server.source], [], [])
    for routing, *frames in server.arrived(10):
        server.send([routing, b"heard", *frames])
"""


def test_line_is_taken_up_again_when_a_killed_server_has_a_successor(address: str) -> None:
    line = UnixLine(address)
    assert line.send([b"early"])
    for last in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, address]) as process:
            try:
                expected = [b"heard", b"while nobody is there"] if last else [b"heard", b"early"]
                assert take(line, 2) == expected
            finally:
                process.kill()
        assert Path(address.removeprefix("unix://")).is_socket(), "left behind"
        wait_for(lambda: [*turn(line)] or line.due < math.inf)
        assert line.send([b"while nobody is there"])
    line.close(0)


def test_what_waits_is_sent_before_the_end(server: UnixServer, address: str) -> None:
    long = os.urandom(2_000_000)
    line = UnixLine(address)
    routing = greeted(server, line)
    line.send([long])
    closing = threading.Thread(target=line.close, args=(DEADLINE,))
    closing.start()
    assert take(server, 1) == [long]
    closing.join(DEADLINE)
    assert not closing.is_alive()
    line = UnixLine(address)
    routing = greeted(server, line)
    server.send([routing, long])
    closing = threading.Thread(target=server.close, args=(DEADLINE,))
    closing.start()
    assert take(line, 1) == [long]
    closing.join(DEADLINE)
    assert not closing.is_alive()
    line.close(0)


def test_nobody_is_waited_for_in_vain_at_the_end(address: str) -> None:
    line = UnixLine(address)
    line.send([b"to nobody"])
    line.close(DEADLINE)
    server = UnixServer(address)
    with raw(address) as peer:
        peer.sendall(packed([b"I do not read"]))
        routing = wait_for(lambda: [one[0] for one in turn(server)])[0]
        server.send([routing, bytes(2_000_000)])
        server.close(0.01)


FORKED = """
import math, os, select, sys, time
from colchis.wire.unix import UnixLine
lines = [UnixLine(sys.argv[1]) for _ in range(2)]
for number, line in enumerate(lines):
    line.send([b"%d" % number])
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
lines[0].close(0)
while lines[1].due == math.inf:
    select.select([lines[1].source], [], [])
    list(lines[1].arrived(10))
# The server is gone for the line, though the child still has the connection.
print(select.select([lines[1].source], [], [], 0)[0], flush=True)
sys.stdin.read()
"""


def test_forked_process_keeps_no_connection_alive(server: UnixServer, address: str) -> None:
    command = [sys.executable, "-c", FORKED, address]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        ids: dict[bytes, bytes] = {}

        def both() -> bool:
            ids.update({frames[0]: routing for routing, *frames in turn(server)})
            return len(ids) == 2

        wait_for(both)
        wait_for(lambda: [*turn(server)] or not server.send([ids[b"0"], b"x"]))
        assert server.send([ids[b"1"], b"x"])
        server.close(0)
        assert process.stdout is not None
        assert process.stdout.readline() == b"[]\n"


def test_threads_send_whole_messages(server: UnixServer, line: UnixLine) -> None:
    greeted(server, line)

    def send(name: bytes) -> None:
        for number in range(50):
            assert line.send([name, bytes(30_000), b"%s %d" % (name, number)])

    threads = [threading.Thread(target=send, args=(b"%d" % number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    frames = take(server, 600, lambda: turn(line))
    for thread in threads:
        thread.join()
    messages = [frames[at : at + 3] for at in range(0, 600, 3)]
    for name in {name for name, _, _ in messages}:
        own = [last for first, _, last in messages if first == name]
        assert own == [b"%s %d" % (name, number) for number in range(50)]


class Interrupted(BaseException):
    """As Ctrl-C."""


def test_interrupt_while_sending_leaves_no_half_message(server: UnixServer, line: UnixLine) -> None:
    def interrupt(*_: object) -> None:
        raise Interrupted

    said: list[bytes] = []
    heard: list[bytes] = []

    def listen() -> None:
        while b"end" not in heard:
            turn(line)
            for _, *frames in turn(server):
                heard.extend(frames)

    thread = threading.Thread(target=listen)
    thread.start()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(100):
            data = b"%d-" % number + bytes(number * 3000)
            with suppress(Interrupted):
                try:
                    signal.setitimer(signal.ITIMER_REAL, 1e-6 + number % 30 * 1e-5)
                    if line.send([data]):
                        said.append(data)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
        line.send([b"end"])
        thread.join(DEADLINE)
    assert not thread.is_alive()
    assert set(said) <= set(heard)
    for data in heard[: heard.index(b"end")]:
        first, _, rest = data.partition(b"-")
        assert rest == bytes(int(first) * 3000)
