"""The HBase-like store as real processes."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hb_client import Table
from hb_discovery import Lookup
from hb_store import Fields

from tests.support import wait_for
from tests.unit.examples.support import FakeMaster

KEYS = [f"user{n:019d}0" for n in range(0, 10**19, 10**17)]
RS0, RS1 = "hbase/region-server/0", "hbase/region-server/1"


def start_master(colchis: FakeMaster) -> None:
    colchis.start("hbase/master/0", "master.py", "--regions", "4", "--interval", "0.2")


def start_server(colchis: FakeMaster, container: str) -> None:
    colchis.start(container, "region_server.py")


@pytest.fixture
def table(colchis: FakeMaster) -> Iterator[Table]:
    table = Table(Lookup(colchis.api, "hbase", colchis.token_file), timeout=90.0)
    yield table
    table.close()


def regions(table: Table) -> dict[str, list[int]]:
    return {server["container"]: server["regions"] for server in table.status()["servers"]}


def fill(table: Table) -> None:
    for key in KEYS:
        table.put(key, {"value": key})


def test_ycsb_runs_every_mix_and_finds_every_record(colchis: FakeMaster) -> None:
    start_master(colchis)
    for container in (RS0, RS1):
        start_server(colchis, container)
    run = colchis.client("hbase", "ycsb.py", "--records", "200", "--operations", "60", "-o", "json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["load"]["kinds"]["insert"]["count"] == 200
    kinds = {"A": {"read", "update"}, "B": {"read", "update"}, "C": {"read"}}
    kinds |= {"D": {"read", "insert"}, "E": {"scan", "insert"}, "F": {"read", "rmw"}}
    assert [mix["workload"] for mix in report["workloads"]] == list("ABCFDE")
    inserted = 0
    for mix in report["workloads"]:
        assert mix["operations"] == 60
        assert mix["missing"] == 0
        assert set(mix["kinds"]) <= kinds[mix["workload"]]
        assert sum(figures["count"] for figures in mix["kinds"].values()) == 60
        figures = mix["latency_ms"]
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"] <= figures["max"]
        inserted += mix["kinds"].get("insert", {"count": 0})["count"]
    assert report["rows"] == 200 + inserted
    assert sorted(n for s in report["servers"] for n in s["regions"]) == [0, 1, 2, 3]


def test_ycsb_prints_a_table(colchis: FakeMaster) -> None:
    start_master(colchis)
    start_server(colchis, RS0)
    arguments = ("--records", "10", "--operations", "10", "--workloads", "C")
    run = colchis.client("hbase", "ycsb.py", *arguments)
    assert run.returncode == 0, run.stderr
    assert "10 rows in the table, 0 reads missed" in run.stdout


def test_ycsb_without_a_store_ends_with_code_1(colchis: FakeMaster) -> None:
    run = colchis.client("hbase", "ycsb.py", "--timeout", "0.2")
    assert run.returncode == 1
    assert "not there yet" in run.stderr


def test_a_server_that_comes_later_is_given_regions_with_their_rows(
    colchis: FakeMaster, table: Table
) -> None:
    start_master(colchis)
    start_server(colchis, RS0)
    fill(table)
    start_server(colchis, RS1)
    wait_for(lambda: [len(r) for r in regions(table).values()] == [2, 2], "an even load")
    assert table.scan("", 1000) == [(key, {"value": key}) for key in KEYS]


def test_a_server_that_restarts_on_another_port_serves_again(
    colchis: FakeMaster, table: Table
) -> None:
    start_master(colchis)
    start_server(colchis, RS0)
    fill(table)
    colchis.kill(RS0)
    start_server(colchis, RS0)
    fill(table)
    assert [key for key, _ in table.scan("", 1000)] == KEYS


def test_a_frozen_server_keeps_its_regions_and_answers_once_thawed(
    colchis: FakeMaster, table: Table
) -> None:
    start_master(colchis)
    for container in (RS0, RS1):
        start_server(colchis, container)
    fill(table)
    wait_for(lambda: [len(r) for r in regions(table).values()] == [2, 2], "an even load")
    before = regions(table)
    colchis.freeze(RS0)

    def silent() -> bool:
        return not all(server["responding"] for server in table.status()["servers"])

    wait_for(silent, "the master to notice")
    assert regions(table) == before
    answers: list[list[tuple[str, Fields]]] = []
    asking = threading.Thread(target=lambda: answers.append(table.scan("", 1000)))
    asking.start()
    colchis.thaw(RS0)
    asking.join(90)
    assert [[key for key, _ in rows] for rows in answers] == [KEYS]


def test_a_restarted_master_learns_who_holds_what(colchis: FakeMaster, table: Table) -> None:
    start_master(colchis)
    start_server(colchis, RS0)
    fill(table)
    colchis.kill("hbase/master/0")
    start_master(colchis)
    other = Table(Lookup(colchis.api, "hbase", colchis.token_file), timeout=90.0)
    try:
        assert [key for key, _ in other.scan("", 1000)] == KEYS
    finally:
        other.close()


def test_read_modify_write_loses_no_update(colchis: FakeMaster, table: Table) -> None:
    start_master(colchis)
    start_server(colchis, RS0)
    table.put("counter", {"n": "0"})

    def add_one(fields: Fields) -> Fields:
        return {"n": str(int(fields["n"]) + 1)}

    def count(_thread: int) -> None:
        mine = Table(Lookup(colchis.api, "hbase", colchis.token_file), timeout=90.0)
        try:
            for _ in range(25):
                assert mine.read_modify_write("counter", add_one)
        finally:
            mine.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    assert table.get("counter") == (101, {"n": "100"})
    assert not table.read_modify_write("no such row", add_one)
