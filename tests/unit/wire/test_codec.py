"""What comes in as bytes: a message, or a WireError and nothing else."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.wire.codec import FROM_AGENT, FROM_MASTER, Codec, WireError
from colchis.wire.messages import MAX_MESSAGE, Confirm, FromMaster, Heartbeat, NodeSample, Start

START = Start(1, 2, "app/web/0", 3, ["sleep", "1"], {"A": "b"}, {"cpus": 500}, "always")


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    for codec in (FROM_AGENT, FROM_MASTER):
        with pytest.raises(WireError):
            codec.decode(data)


@given(st.data())
def test_a_damaged_message_is_a_message_or_refused(data: st.DataObject) -> None:
    whole = bytearray(FROM_MASTER.encode(START))
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] = data.draw(st.integers(0, 255))
    try:
        message = FROM_MASTER.decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    except WireError:
        return
    assert isinstance(message, FromMaster)


def test_messages_come_back() -> None:
    assert FROM_MASTER.decode(FROM_MASTER.encode(START)) == START
    beat = Heartbeat("s", 1, NodeSample(0.5, 1, 2), [], [])
    assert FROM_AGENT.decode(FROM_AGENT.encode(beat)) == beat


def test_a_message_goes_one_way() -> None:
    with pytest.raises(WireError):
        FROM_AGENT.decode(FROM_MASTER.encode(START))


@pytest.mark.parametrize(
    "change",
    [
        {"container": ""},
        {"epoch": -1},
        {"command": []},
        {"restart": "sometimes"},
        {"resources": {"cpus": -5}},
        {"incarnation": 2**63},
    ],
)
def test_values_out_of_bounds_are_refused(change: dict[str, object]) -> None:
    plain = {**msgspec.to_builtins(START), **change}
    with pytest.raises(WireError):
        FROM_MASTER.decode(msgspec.msgpack.encode(plain))


def test_oversized_messages_are_neither_sent_nor_taken() -> None:
    with pytest.raises(WireError, match="at most"):
        FROM_MASTER.decode(b"\0" * (MAX_MESSAGE + 1))
    small: Codec[FromMaster] = Codec(FromMaster, limit=10)
    with pytest.raises(WireError, match="at most 10"):
        small.encode(Confirm(1, "session", 2))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(WireError):
        FROM_MASTER.decode(b"\x91" * 100_000)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_figures_are_numbers_that_can_be_shown(value: float) -> None:
    beat = Heartbeat("s", 1, NodeSample(cpus_used=value), [], [])
    with pytest.raises(WireError):
        FROM_AGENT.decode(FROM_AGENT.encode(beat))
