"""`run`, `status`, `stop`, `suspend`, `resume` against a master."""

import json
import stat
from pathlib import Path

import pytest
import yaml

from colchis.client.connection import Connection, read_connection, write_connection
from colchis.errors import InputError
from tests.unit.api.fake_control import FakeControl
from tests.unit.cli.command import colchis


def test_run_waits_and_says_how_far_it_is(live: FakeControl) -> None:
    done = colchis("run", "web.yaml", "-o", "json")
    assert done.code == 0
    [app] = done.json["apps"]
    assert app["state"] == "running"
    assert [c["container"] for c in app["containers"]] == ["web/w/0", "web/w/1", "web/w/2"]
    assert done.err.splitlines() == [
        "web: deploying, 1/3 running",
        "web: deploying, 2/3 running",
        "web: running, 3/3 running",
    ]
    assert live.asked == [("submit", ["web"], False)]


def test_run_without_waiting(live: FakeControl) -> None:
    done = colchis("run", "web.yaml", "--no-wait", "-o", "json")
    assert (done.code, done.err) == (0, "")
    assert done.json["apps"][0]["state"] == "deploying"


def test_run_again_needs_update(live: FakeControl) -> None:
    assert colchis("run", "web.yaml").code == 0
    again = colchis("run", "web.yaml")
    assert (again.code, again.out) == (1, "")
    assert again.err == "error: web is there already\n"
    assert colchis("run", "web.yaml", "--update").code == 0
    assert live.asked[-1] == ("submit", ["web"], True)


def test_a_refused_app_is_exit_code_1_with_the_reason(live: FakeControl) -> None:
    done = colchis("run", "web.yaml", "huge.yaml")
    assert done.code == 1
    assert "huge (service): refused" in done.out
    assert "no node could ever hold it" in done.out
    assert "web (service): running" in done.out


def test_run_gives_up_waiting_but_not_the_app(live: FakeControl, files: Path) -> None:
    (files / "stuck.yaml").write_text("app: stuck\ngroups: {w: {command: [sleep]}}\n")
    done = colchis("run", "stuck.yaml", "--timeout", "0.3")
    assert done.code == 1
    assert "waits for [a node]" in done.out
    assert "stuck: deploying after 0.3 s; it is not given up" in done.err


def test_run_refuses_what_has_no_command_before_asking(live: FakeControl, files: Path) -> None:
    (files / "plan.yaml").write_text("app: p\ngroups: {a: {}, b: {command: [x]}, c: {count: 2}}\n")
    done = colchis("run", "plan.yaml")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: p: groups.a.command: nothing to run without a command",
        "error: p: groups.c.command: nothing to run without a command",
    ]
    assert live.asked == []


def test_spec_dir_reaches_the_master_as_a_folder(live: FakeControl, files: Path) -> None:
    (files / "s.yaml").write_text('app: s\ngroups: {w: {command: ["${SPEC_DIR}/w"]}}\n')
    assert colchis("run", "s.yaml").code == 0
    assert live.specs["s"].groups[0].command == (f"{files}/w",)


def test_status(live: FakeControl) -> None:
    colchis("run", "web.yaml")
    overview = colchis("status", "-o", "json")
    assert overview.code == 0
    assert overview.json["cluster"] == "fake"
    assert [app["app"] for app in overview.json["apps"]] == ["web"]
    shown = colchis("status")
    assert shown.out.splitlines()[0].startswith("fake: nodes: 2 ready")
    assert "3/3" in shown.out
    one = colchis("status", "web", "-o", "yaml")
    assert yaml.safe_load(one.out)["spec"]["app"] == "web"
    assert "web/w/2" in colchis("status", "web").out
    missing = colchis("status", "gone", "-o", "json")
    assert (missing.code, missing.out, missing.err) == (1, "", "error: there is no app gone\n")


def test_stop_waits_until_nothing_is_left(live: FakeControl) -> None:
    colchis("run", "web.yaml")
    done = colchis("stop", "web", "--grace", "3")
    assert (done.code, done.out, done.err) == (0, "", "web: stopped\n")
    assert live.specs == {}
    assert live.asked[-1] == ("remove", "web", 3.0)


def test_stop_stops_the_others_where_one_is_unknown(live: FakeControl) -> None:
    colchis("run", "web.yaml")
    done = colchis("stop", "gone", "web")
    assert (done.code, done.err) == (1, "error: there is no app gone\n")
    assert live.specs == {}


def test_stop_that_takes_too_long(live: FakeControl, files: Path) -> None:
    (files / "stuck.yaml").write_text("app: stuck\ngroups: {w: {command: [sleep]}}\n")
    colchis("run", "stuck.yaml", "--no-wait")
    done = colchis("stop", "stuck", "--timeout", "0.3")
    assert done.code == 1
    assert "still runs after 0.3 s" in done.err
    assert colchis("stop", "stuck", "--no-wait").code == 0


def test_suspend_and_resume_wait_until_it_is_so(live: FakeControl) -> None:
    colchis("run", "web.yaml")
    done = colchis("suspend", "web")
    assert (done.code, done.err) == (0, "web: suspended\n")
    assert set(live.states["web"].values()) == {"suspended"}
    assert colchis("resume", "web/w/1").code == 0
    assert live.states["web"]["web/w/1"] == "running"
    assert live.states["web"]["web/w/0"] == "suspended"
    assert colchis("resume", "web/w").code == 0
    assert set(live.states["web"].values()) == {"running"}
    assert live.asked[1:] == [
        ("suspend", "web", None, None),
        ("resume", "web", ["web/w/1"], None),
        ("resume", "web", None, "w"),
    ]


def test_suspend_says_what_it_waited_for_in_vain(live: FakeControl, files: Path) -> None:
    (files / "stuck.yaml").write_text("app: stuck\ngroups: {w: {command: [sleep]}}\n")
    colchis("run", "stuck.yaml", "--no-wait")
    done = colchis("suspend", "stuck", "--timeout", "0.3")
    assert done.code == 1
    assert "stuck/w/0 is starting: waits for [a node]" in done.err
    assert colchis("suspend", "stuck", "--no-wait").code == 0


@pytest.mark.parametrize("word", ["", "web/w", "web/w/0"])
@pytest.mark.parametrize(
    "verb",
    ["status", "stop", "node drain", "node undrain", "job status", "job tasks", "job cancel"],
)
def test_words_that_cannot_be_names(live: FakeControl, verb: str, word: str) -> None:
    colchis("run", "web.yaml")
    others = ["web"] if verb == "stop" else []
    done = colchis(*verb.split(), *others, word)
    assert done.code == 2
    assert f"{word!r} names no " in done.err
    assert "web" in live.specs


@pytest.mark.parametrize("word", ["a/b/c", "a/b/0/1", "/w/0", "", "a/"])
def test_words_that_name_nothing(live: FakeControl, word: str) -> None:
    for verb in ("suspend", "logs"):
        done = colchis(verb, word)
        assert done.code == 2
        assert "names nothing" in done.err
    assert live.asked == []


def test_without_a_connection_file(files: Path) -> None:
    for verb in (["status"], ["run", "web.yaml"], ["plan", "web.yaml"], ["events", "-f"], ["top"]):
        done = colchis(*verb)
        assert (done.code, done.out) == (2, "")
        assert "colchis up" in done.err and "COLCHIS_CONNECTION" in done.err


def test_a_master_out_of_reach(files: Path) -> None:
    write_connection(files / "other.json", Connection("http://127.0.0.1:1", "t"))
    done = colchis("status", "--connection", "other.json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: no answer from the master at http://127.0.0.1:1")


def test_a_wrong_token(live: FakeControl, files: Path) -> None:
    found = read_connection(files / "connection.json")
    write_connection(files / "other.json", Connection(found.api, "wrong"))
    done = colchis("status", "--connection", "other.json")
    assert (done.code, done.err) == (1, "error: a valid token is needed\n")


@pytest.mark.parametrize(
    "wrong",
    [
        {"api": "nonsense"},
        {"api": "http://h:port"},
        {"token": "secret\n"},
        {"token": "a b"},
        {"token": ""},
        {"api": 3},
    ],
)
def test_a_connection_file_that_is_none(files: Path, wrong: dict[str, object]) -> None:
    content = {"api": "http://127.0.0.1:1", "token": "secret", **wrong}
    (files / "connection.json").write_text(json.dumps(content))
    done = colchis("status")
    assert done.code == 2
    assert "Traceback" not in done.err and "secret" not in done.err


def test_a_connection_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "connection.json"
    connection = Connection("http://h:1", "t", "c", "tcp://h:2", "/keys")
    write_connection(file, connection)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_connection(file) == connection
    assert [path.name for path in file.parent.iterdir()] == ["connection.json"]
    with pytest.raises(InputError, match="colchis up"):
        read_connection(tmp_path / "none.json")


def test_rules_over_a_node_group_that_no_node_has_are_told_of(
    live: FakeControl, files: Path
) -> None:
    text = "{w, {w, 0, 1}, racks}"
    (files / "racks.yaml").write_text(
        f'app: web\ngroups: {{w: {{tags: [w], command: [sleep]}}}}\nconstraints: ["{text}"]\n'
    )
    of_app = (
        f"warning: web: {text}: no node has a group of type 'racks'; known: cluster, node, rack"
    )
    ran = colchis("run", "racks.yaml", "-o", "json")
    assert ran.code == 0
    assert of_app in ran.err.splitlines()
    assert [app["app"] for app in ran.json["apps"]] == ["web"]
    planned = colchis("plan", "racks.yaml", "-o", "json")
    assert (planned.err, planned.json["algorithm"]) == (f"{of_app}\n", "ilp")
    added = colchis("constraint", "add", "{x, {x, 0, 1}, zone}", "--name", "far")
    assert added.code == 0
    of_operator = "warning: far: no node has a group of type 'zone'; known: cluster, node, rack"
    assert of_operator in added.err.splitlines()
    explained = colchis("explain", "web/w/0", "-o", "json")
    assert (explained.err, explained.json["container"]) == (f"{of_operator}\n", "web/w/0")
