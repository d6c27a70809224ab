"""Words that every message of jobs shares: work, inputs, results, failures; and the stores' talk.

What users' functions take and return travels as opaque bytes; only clients and slot processes
unpickle it. Every other field is checked for type and bounds when a message is decoded.

An *attempt* is one try at one task. Its number is unique for ever: the high bits are the job
service's epoch, which grows with each start. A result is named by the attempt that made it and a
bucket, so that an old result is never taken for a newer one.

Short tasks of one stage travel as a *lot*: one attempt that a slot works through task by task. Its
tasks are counted from 0, and the results of task i are named as those of attempt + i.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from colchis.wire.codec import Codec

PROTOCOL = 3
"""Version of these messages; a peer that speaks another is refused with both versions named."""

MAX_MESSAGE = 64 * 2**20
"""Bytes; a longer message is refused by its sender, with the size and this limit in the error."""

MAX_INLINE = 32 * 2**10
"""Bytes; results no longer than this travel inside messages, longer ones stay in executors."""

MAX_RESULT = 2**30
"""Bytes; a task with a longer result (per bucket) fails, its error names the limit."""

EPOCH_SHIFT = 40
"""Bits of an attempt's number below the epoch."""

MAX_LOT = 64
"""Tasks of one lot."""

MAX_PRIORITY = 1000
MAX_TEXT = 65_536
MAX_COUNT = 2**62
MAX_BUCKETS = 65_536

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=255)]
TaskName: TypeAlias = Annotated[str, Meta(max_length=1024)]
Address: TypeAlias = Annotated[str, Meta(max_length=512)]
Text: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_COUNT)]
Index: TypeAlias = Annotated[int, Meta(ge=0, le=2**31)]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=1e12)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Digest: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{32}$")]
Priority: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_PRIORITY)]

STREAM = 1
BATCH = 2


class Stored(Struct, frozen=True, array_like=True):
    """A result kept by an executor: ``key`` names it there, ``address`` is where it is served."""

    key: Name
    size: Count
    address: Address


Input: TypeAlias = bytes | Stored
"""A pickled value, or where to fetch it."""

Kind: TypeAlias = Literal["call", "records"]
"""``call``: the one input is (args, kwargs). ``records``: each input is a sequence of records, and
the function gets one iterator over all of them."""


class Work(Struct, frozen=True, array_like=True):
    """What an attempt is to do.

    ``buckets``: 0 for a result that is one value; n where it is a sequence of n values, each kept
    apart so that another task may fetch one alone.
    """

    kind: Kind
    function: Digest
    inputs: Annotated[list[Input], Meta(max_length=100_000)]
    buckets: Annotated[int, Meta(ge=0, le=MAX_BUCKETS)] = 0


class Failure(Struct, frozen=True):
    """Why a task failed: what, where, and the last lines it wrote.

    ``exception`` is the pickled exception, empty where there is none (the process died).
    """

    message: Text
    traceback: Text = ""
    exception: bytes = b""
    node: Text = ""
    executor: Text = ""
    log: Annotated[list[Text], Meta(max_length=200)] = []


class Get(Struct, frozen=True, tag="get"):
    """Send the result ``key``; fetch it from ``address`` first where that is given."""

    key: Name
    address: Address = ""


class Put(Struct, frozen=True, tag="put"):
    """Keep a result; only an executor's own slot processes may ask this."""

    key: Name
    data: bytes


class Data(Struct, frozen=True, tag="data"):
    """A result; ``data`` is None where there is none of that name, ``reason`` says why."""

    key: Name
    data: bytes | None = None
    reason: Text = ""


class Kept(Struct, frozen=True, tag="kept"):
    """The answer to :class:`Put`: the result can be fetched from now on."""

    key: Name


StoreMessage: TypeAlias = Get | Put | Kept | Data

STORE: Codec[StoreMessage] = Codec(StoreMessage, limit=MAX_RESULT + 2**16)
