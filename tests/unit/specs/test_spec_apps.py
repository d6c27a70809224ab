"""App specs: what they mean, and that nothing is lost on the way out and in again."""

import json
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
import yaml
from hypothesis import given

from colchis.errors import InputError
from colchis.model.app import AppSpec, Kind, Restart
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis.specs import (
    app_from_dict,
    app_to_dict,
    parse_apps,
    parse_duration,
    parse_rules,
    read_apps,
)
from tests.unit.model.model_strategies import apps

EXAMPLES = Path(__file__).parents[3] / "examples"
HBASE = """\
app: hbase
kind: service
groups:
  master:        {count: 1,  tags: [hb, hb-m],  resources: {cpus: 0.5, memory: 256MiB},
                  command: [python, -m, http.server, "0"]}
  region-server: {count: 10, tags: [hb, hb-rs], resources: {cpus: 1, memory: 2GiB, gpus: 1},
                  env: {HEAP: 1.50, MODE: fast}, restart: never}
constraints:
  - "{hb-rs, {self/hb-rs, 0, 1}, node}"
  - {name: spread, constraint: "{hb-rs, {self/hb-rs, 0, 3}, rack}", weight: 2, expires: 2h}
"""


@given(apps())
def test_an_app_survives_plain_data_json_and_yaml(app: AppSpec) -> None:
    plain = app_to_dict(app)
    assert app_from_dict(plain) == app
    assert app_from_dict(json.loads(json.dumps(plain))) == app
    assert parse_apps(json.dumps(plain)) == (app,)
    assert parse_apps(yaml.safe_dump(plain, sort_keys=False)) == (app,)


def test_the_whole_of_a_spec() -> None:
    [app] = parse_apps(HBASE)
    master, servers = app.groups
    assert (app.name, app.kind, app.priority) == ("hbase", Kind.SERVICE, None)
    assert (master.count, master.tags) == (1, frozenset({"hb", "hb-m"}))
    assert master.command == ("python", "-m", "http.server", "0")
    assert (master.restart, servers.restart) == (Restart.ON_FAILURE, Restart.NEVER)
    assert servers.resources == Resources.of(1, "2GiB", gpus=1)
    assert servers.env == {"HEAP": "1.50", "MODE": "fast"}
    assert servers.command is None
    assert app.rules == (
        Rule(parse_constraint("{hb-rs, {self/hb-rs, 0, 1}, node}"), app="hbase"),
        Rule(
            parse_constraint("{hb-rs, {self/hb-rs, 0, 3}, rack}"),
            name="spread",
            app="hbase",
            weight=2.0,
            expires=7200.0,
        ),
    )


def test_what_may_be_left_out() -> None:
    [app] = parse_apps("app: a\ngroups: {g: {}}\nconstraints:\n")
    [group] = app.groups
    assert (app.kind, app.rules) == (Kind.SERVICE, ())
    assert (group.count, group.tags, group.resources) == (1, frozenset(), Resources())


def test_executors_are_a_group_whose_containers_run_tasks() -> None:
    [app] = parse_apps("{app: a, kind: batch, executors: {count: 3, cores: 4, memory: 8GiB}}")
    [group] = app.groups
    assert (group.name, group.count, group.executor) == ("executors", 3, True)
    assert group.resources == Resources.of(4, "8GiB")


@pytest.mark.parametrize(("text", "priority"), [("stream", 1), ("batch", 2), ("7", 7), ("0", 0)])
def test_priorities_have_names(text: str, priority: int) -> None:
    [app] = parse_apps(f"{{app: a, kind: batch, groups: {{g: {{}}}}, priority: {text}}}")
    assert app.priority == priority


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("{subject: [web], targets: [{tags: [web], min: 0, max: 1}], group: node}",
         "{web, {web, 0, 1}, node}"),
        ("{subject: a & b, targets: {tags: self/c & d, min: 1}, group: rack}",
         "{a & b, {self/c & d, 1, inf}, rack}"),
        ("{subject: [a, b], targets: [{tags: [c], max: .inf}, {tags: [app/x/d], max: 0}],"
         " group: zone}", "{a & b, {c, 0, inf} & {app/x/d, 0, 0}, zone}"),
        ("{any: ['{a, {b, 1, inf}, node}', {all: ['{a, {b, 1, ∞}, rack}',"
         " {subject: [a], targets: [{tags: [c], max: 2}], group: node}]}]}",
         "{a, {b, 1, inf}, node} | {a, {b, 1, inf}, rack} & {a, {c, 0, 2}, node}"),
        ("{all: ['{a, {b, 1, inf}, node} & {a, {c, 0, 0}, node}', '{a, {d, 1, inf}, rack}']}",
         "{a, {b, 1, inf}, node} & {a, {c, 0, 0}, node} & {a, {d, 1, inf}, rack}"),
    ],
)  # fmt: skip
def test_constraints_spelled_out(written: str, text: str) -> None:
    """As an item of the list, and as the value of ``constraint``."""
    constraints = f"[{written}, {{constraint: {written}, name: n, weight: 3}}]"
    [app] = parse_apps(f"{{app: a, groups: {{g: {{}}}}, constraints: {constraints}}}")
    plain, named = app.rules
    assert str(plain.constraint) == str(named.constraint) == text
    assert (plain.name, named.name, named.weight) == ("", "n", 3.0)


def test_a_spelled_out_item_may_have_properties_beside_it() -> None:
    [rule] = parse_rules([{"any": ["{a, {b, 1, inf}, node}"], "hard": True, "expires": "90s"}])
    assert (rule.hard, rule.expires, rule.app, rule.name) == (True, 90.0, None, "")


def test_several_documents_and_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.json"
    one.write_text("app: a\ngroups: {g: {}}\n---\napp: b\ngroups: {g: {}}\n---\n")
    two.write_text('{"app": "c", "groups": {"g": {"count": 2}}}')
    assert [app.name for app in read_apps([one, two])] == ["a", "b", "c"]


def test_anchors_and_merges_share_what_is_alike() -> None:
    [app] = parse_apps(
        "app: a\n"
        "groups:\n"
        "  one: &base {count: 2, tags: [x], resources: &r {cpus: 1}}\n"
        "  two: {<<: *base, count: 3}\n"
        "  three: {resources: *r}\n"
    )
    one, two, three = app.groups
    assert (two.count, two.tags, two.resources) == (3, one.tags, one.resources)
    assert three.resources == one.resources


def test_words_that_older_yaml_takes_for_truth_are_text() -> None:
    [app] = parse_apps("{app: a, groups: {g: {env: {A: yes, B: off, C: 12:30}, tags: [no, on]}}}")
    assert app.groups[0].env == {"A": "yes", "B": "off", "C": "12:30"}
    assert app.groups[0].tags == {"no", "on"}


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("2h", 7200), ("30m", 1800), ("90s", 90), ("1h30m", 5400), ("500ms", 0.5), ("1d", 86400),
     (5, 5), (0.25, 0.25)],
)  # fmt: skip
def test_durations(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize("wrong", ["", "2", "2 h", "h", "-1s", 0, -1, True, None, float("inf"), []])
def test_no_duration(wrong: object) -> None:
    with pytest.raises(ValueError, match="90s, 30m, 2h"):
        parse_duration(wrong)


def test_plain_data_is_checked_as_files_are() -> None:
    with pytest.raises(InputError) as caught:
        app_from_dict({"app": "a", "groups": {"g": {"cuont": 3}}}, field="apps[1]")
    [problem] = caught.value.problems
    assert (problem.line, problem.field) == (0, "apps[1].groups.g.cuont")
    assert "did you mean 'count'?" in problem.message


@pytest.mark.parametrize("data", [None, [], "a", 3, {1: 2}, {"app": object()}, {}])
def test_plain_data_of_any_shape_is_refused_in_words(data: object) -> None:
    with pytest.raises(InputError):
        app_from_dict(data)


def test_plain_data_nested_without_end_is_refused() -> None:
    data: list[object] = []
    data.append(data)
    with pytest.raises(InputError, match="nested more than"):
        app_from_dict({"app": data})


def test_spec_dir_is_the_folder_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "with space: {a}"
    folder.mkdir()
    (folder / "web.yaml").write_text(
        "app: web\n"
        "groups:\n"
        "  w:\n"
        "    command: [python, '${SPEC_DIR}/w.py', '--in=${SPEC_DIR}', $SPEC_DIR, '${OTHER}']\n"
        "    env: {HOME_OF_IT: '${SPEC_DIR}/${SPEC_DIR}'}\n"
    )
    monkeypatch.chdir(folder)
    [app] = read_apps([Path("web.yaml")])
    [group] = app.groups
    expected = ("python", f"{folder}/w.py", f"--in={folder}", "$SPEC_DIR", "${OTHER}")
    assert group.command == expected
    assert group.env == {"HOME_OF_IT": f"{folder}/{folder}"}


def test_spec_dir_of_standard_input_is_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = b"app: web\ngroups: {w: {command: ['${SPEC_DIR}/w']}}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(text)))
    [app] = read_apps([Path("-")])
    assert app.groups[0].command == (f"{tmp_path}/w",)


@pytest.mark.parametrize("spec", sorted(EXAMPLES.glob("*/*.yaml")), ids=lambda spec: spec.stem)
def test_the_examples_name_programs_that_are_there(spec: Path) -> None:
    groups = [group for app in read_apps([spec]) for group in app.groups if not group.executor]
    assert groups
    for group in groups:
        assert group.command is not None
        assert group.command[0] == "python"
        assert Path(group.command[1]).is_file()
