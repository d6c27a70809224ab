"""One region server, asked directly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hb_regions import Region, split_keyspace
from hb_store import Fields
from hb_wire import Connection, Message, RefusedError, Server
from hypothesis import given
from hypothesis import strategies as st
from region_server import RegionServer

short_keys = st.text(alphabet="abcu", min_size=1, max_size=3)


def ask(server: RegionServer, op: str, **fields: object) -> Message:
    return server.handle({"op": op, **fields})[0]


def open_region(server: RegionServer, region: Region) -> None:
    ask(server, "open", region=region.number, start=region.start, end=region.end)


def full_server() -> RegionServer:
    server = RegionServer("hbase/region-server/0")
    open_region(server, split_keyspace(1)[0])
    return server


@contextmanager
def listening(server: RegionServer) -> Iterator[int]:
    with Server("127.0.0.1", 0, server.handle) as listener:
        thread = threading.Thread(target=listener.serve_forever, args=(0.02,))
        thread.start()
        yield int(listener.server_address[1])
        listener.shutdown()
        thread.join()


@given(rows=st.lists(st.tuples(short_keys, st.text(max_size=3))), start=short_keys)
def test_scan_returns_the_rows_from_its_start_in_key_order(
    rows: list[tuple[str, str]], start: str
) -> None:
    server = full_server()
    for key, value in rows:
        ask(server, "put", key=key, fields={"f": value})
    reply = ask(server, "scan", start=start, limit=4)
    expected = sorted((k, v) for k, v in dict(rows).items() if k >= start)[:4]
    assert [(key, fields["f"]) for key, _version, fields in reply["rows"]] == expected


def test_scan_names_where_the_next_region_begins_only_if_it_was_not_satisfied() -> None:
    server = RegionServer("s")
    open_region(server, Region(0, "", "m"))
    for key in ("a", "b", "c"):
        ask(server, "put", key=key, fields={})
    assert ask(server, "scan", start="", limit=2)["next"] is None
    assert ask(server, "scan", start="b", limit=3)["next"] == "m"


def test_put_keeps_the_other_fields_and_get_tells_a_missing_row() -> None:
    server = full_server()
    ask(server, "put", key="k", fields={"a": "1", "b": "2"})
    ask(server, "put", key="k", fields={"b": "3"})
    assert ask(server, "get", key="k") == {
        "found": True,
        "version": 2,
        "fields": {"a": "1", "b": "3"},
    }
    assert ask(server, "get", key="other")["found"] is False


def test_check_and_put_writes_only_what_was_read_last() -> None:
    server = full_server()
    assert ask(server, "check_and_put", key="k", version=0, fields={"a": "1"})["version"] == 1
    with pytest.raises(RefusedError) as refusal:
        ask(server, "check_and_put", key="k", version=0, fields={"a": "2"})
    assert refusal.value.code == "changed"
    assert ask(server, "get", key="k")["fields"] == {"a": "1"}


def test_keys_outside_its_regions_are_refused() -> None:
    server = RegionServer("s")
    open_region(server, Region(0, "b", "d"))
    ask(server, "put", key="c", fields={})
    for key in ("a", "d"):
        with pytest.raises(RefusedError, match="not-here"):
            ask(server, "get", key=key)
    ask(server, "close", region=0)
    with pytest.raises(RefusedError, match="not-here"):
        ask(server, "get", key="c")


def test_opening_an_open_region_keeps_its_rows() -> None:
    server = full_server()
    ask(server, "put", key="k", fields={})
    open_region(server, split_keyspace(1)[0])
    assert ask(server, "hello")["regions"] == {"0": 1}


def test_move_takes_every_row_with_its_version_to_the_other_server() -> None:
    source, target = full_server(), RegionServer("t")
    expected: dict[str, Fields] = {f"k{i:04d}": {"n": str(i)} for i in range(1201)}
    for key, fields in expected.items():
        ask(source, "put", key=key, fields=fields)
    ask(source, "put", key="k0007", fields={})
    with listening(target) as port:
        ask(source, "move", region=0, host="127.0.0.1", port=port)
    assert ask(source, "hello")["regions"] == {}
    rows = ask(target, "scan", start="", limit=5000)["rows"]
    assert {key: fields for key, _version, fields in rows} == expected
    assert ask(target, "get", key="k0007")["version"] == 2


def test_a_move_that_fails_leaves_the_region_where_it_was() -> None:
    source = full_server()
    ask(source, "put", key="k", fields={})
    with listening(RegionServer("t")) as port:
        pass
    with pytest.raises(RefusedError, match="move-failed"):
        ask(source, "move", region=0, host="127.0.0.1", port=port)
    assert ask(source, "get", key="k")["found"] is True


def test_malformed_requests_are_answered_and_the_connection_stays_usable() -> None:
    with listening(full_server()) as port, Connection("127.0.0.1", port) as connection:
        malformed: list[tuple[str, Message]] = [
            ("nonsense", {}),
            ("get", {}),
            ("put", {"key": "k", "fields": [1]}),
        ]
        for op, fields in malformed:
            with pytest.raises(RefusedError, match="bad-request"):
                connection.call(op, **fields)
        connection.call("put", key="k", fields={"a": "b"})
        assert connection.call("get", key="k")[0]["fields"] == {"a": "b"}
