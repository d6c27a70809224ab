"""Bad input: every mistake at once, each with file, line, column, field and what would be right."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.errors import InputError, Problem
from colchis.specs import parse_apps, parse_cluster, parse_rules, read_apps

GOOD = "app: good\ngroups: {g: {}}\n"


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        parse_apps(text, "a.yaml")
    return caught.value.problems


def test_three_mistakes_are_three_problems() -> None:
    found = problems(
        "app: web\n"
        "groups:\n"
        "  web:\n"
        "    count: three\n"
        "    resources: {cpus: 1, memory: 2Gig}\n"
        "constraints:\n"
        '  - "{web, {web, 0, x}, node}"\n'
    )
    assert [(p.file, p.line, p.column, p.field) for p in found] == [
        ("a.yaml", 4, 12, "groups.web.count"),
        ("a.yaml", 5, 34, "groups.web.resources.memory"),
        ("a.yaml", 7, 21, "constraints[0]"),
    ]
    assert str(found[0]) == (
        "a.yaml:4:12: groups.web.count: expected a count, a whole number from 0 to 100000, "
        "found the text 'three'"
    )


def test_all_files_are_searched(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in ("1.yaml", "2.yaml", "3.yaml"))
    one.write_text("app: a\nkind: servcie\ngroups: {g: {}}\n")
    two.write_text("app: [\n")
    three.write_text("---\napp: b\n---\napp: c d\ngroups: {g: {cpus: 1}}\n")
    with pytest.raises(InputError) as caught:
        read_apps([one, two, tmp_path / "absent.yaml", tmp_path, three])
    assert {(Path(p.file).name, p.line, p.field) for p in caught.value.problems} == {
        ("1.yaml", 2, "kind"),
        ("2.yaml", 2, ""),
        ("3.yaml", 2, ""),
        ("3.yaml", 4, "app"),
        ("3.yaml", 5, "groups.g.cpus"),
        ("absent.yaml", 0, ""),
        (tmp_path.name, 0, ""),
    }
    assert len(caught.value.problems) == 7


def test_a_name_in_two_files_is_told_with_both_places(tmp_path: Path) -> None:
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text(GOOD)
    two.write_text("groups: {g: {}}\napp: good\n")
    with pytest.raises(InputError) as caught:
        read_apps([one, two])
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.column) == (str(two), 2, 6)
    assert f"{one}, line 1" in problem.message


def test_standard_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Standard:
        buffer = io.BytesIO(b"app: a\ngroups: {g: {tag: [x]}}\n")

    monkeypatch.setattr("sys.stdin", Standard)
    with pytest.raises(InputError) as caught:
        read_apps([Path("-")])
    assert str(caught.value).startswith("<stdin>:2:14: groups.g.tag: unknown key 'tag'; did you")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("app: a\nkind: é".encode() + b"\xff\n")
    with pytest.raises(InputError) as caught:
        read_apps([path])
    [problem] = caught.value.problems
    assert (problem.line, problem.column) == (2, 8)


@pytest.mark.parametrize(
    ("text", "line", "column", "field", "message"),
    [
        ("app: a\ngroups: {g: {}}\nkind: servcie", 3, 7, "kind", "did you mean 'service'?"),
        ("app: a\ngroups: {g: {}}\ncolour: red", 3, 1, "colour", "known are app, kind"),
        ("app: a\ngroups: {g: {}}\napp: b", 3, 1, "app", "stands twice, first in line 1"),
        ("groups: {g: {}}", 1, 1, "app", "missing in an app spec"),
        ("app: a", 1, 1, "", "needs groups, or executors"),
        ("app: a\ngroups: {}", 2, 9, "groups", "name at least one"),
        ("app: a\ngroups: [g]", 2, 9, "groups", "found a list"),
        ("app: a\ngroups: {g: 3}", 2, 13, "groups.g", "expected a group, a mapping"),
        ("app: a\ngroups: {g/h: {}}", 2, 15, "groups.g/h", "cannot be a group's name"),
        ("app: 12\ngroups: {g: {}}", 1, 6, "app", 'write it in quotes: "12"'),
        ("app: ../etc\ngroups: {g: {}}", 1, 6, "app", "cannot be an app's name"),
        ("app: ''\ngroups: {g: {}}", 1, 6, "app", "an empty text"),
        ("app: a\ngroups: {g: {count: -1}}", 2, 21, "groups.g.count", "from 0 to 100000, found -1"),
        ("app: a\ngroups: {g: {count: 100001}}", 2, 21, "groups.g.count", "found 100001"),
        ("app: a\ngroups: {g: {count: true}}", 2, 21, "groups.g.count", "found true"),
        ("app: a\ngroups: {g: {count: 1.5}}", 2, 21, "groups.g.count", "found 1.5"),
        ("app: a\ngroups: {g: {tags: web}}", 2, 20, "groups.g.tags", "expected a list of tags"),
        ("app: a\ngroups: {g: {tags: [a b]}}", 2, 21, "groups.g.tags[0]", "cannot be a tag"),
        ("app: a\ngroups: {g: {tags: ['app:b']}}", 2, 21, "groups.g.tags[0]", "carries"),
        ("app: a\ngroups: {g: {command: ls -l}}", 2, 23, "groups.g.command", "a list of words"),
        ("app: a\ngroups: {g: {command: []}}", 2, 23, "groups.g.command", "empty"),
        ("app: a\ngroups: {g: {command: [a, true]}}", 2, 27, "groups.g.command[1]", '"true"'),
        ("app: a\ngroups: {g: {env: {A-B: c}}}", 2, 25, "groups.g.env.A-B", "of a variable"),
        ("app: a\ngroups: {g: {env: {A: [1]}}}", 2, 23, "groups.g.env.A", "the value of A"),
        ("app: a\ngroups: {g: {env: {A: \"b\\0\"}}}", 2, 23, "groups.g.env.A", "NUL"),
        ("app: a\ngroups: {g: {restart: alway}}", 2, 23, "groups.g.restart", "'always'?"),
        ("app: a\ngroups: {g: {resources: {cpus: -1}}}", 2, 32, "groups.g.resources.cpus", "cores"),
        ("app: a\ngroups: {g: {resources: {cpu: 1}}}", 2, 26, "groups.g.resources.cpu", "'cpus'"),
        ("app: a\ngroups: {g: {resources: {gpus: 0.5}}}", 2, 32, "groups.g.resources.gpus",
         "a whole number"),
        ("app: a\ngroups: {g: {resources: {memory: 9999999TiB}}}", 2, 34,
         "groups.g.resources.memory", "more memory than any node has"),
        ("app: a\npriority: 1\ngroups: {g: {}}", 2, 11, "priority", "only an app of kind batch"),
        ("app: a\nkind: batch\npriority: high\ngroups: {g: {}}", 3, 11, "priority", "stream, bat"),
        ("app: a\nexecutors: {count: 1, cores: 0.5, memory: 1}", 2, 30, "executors.cores", "0.5"),
        ("app: a\nexecutors: {count: 1, cores: 2}", 2, 12, "executors.memory", "missing"),
        ("app: a\ngroups: {executors: {}}\nexecutors: {count: 1, cores: 1, memory: 1}", 3, 12,
         "executors", "a group named executors as well"),
        ("- app: a", 1, 1, "", "expected an app spec, a mapping"),
        ("", 1, 1, "", "nothing stands here"),
        ("app: a\n  groups: b", 2, 9, "", "this is no YAML: mapping values are not allowed"),
        ("app: a\ngroups: {g: {}", 3, 1, "", "this is no YAML"),
        ("app: *a\ngroups: {g: {}}", 1, 6, "app", "names nothing before it"),
        ("app: a\x07\ngroups: {g: {}}", 1, 7, "", "U+0007 may not stand in YAML"),
        ("app: !name a\ngroups: {g: {}}", 1, 6, "app", "tag !name has no meaning"),
        ("app: a\ngroups: {g: {tags: !!set {b}}}", 2, 20, "groups.g.tags", "2002:set has no"),
        ("app: !!binary YQ==\ngroups: {g: {}}", 1, 6, "app", "2002:binary has no meaning"),
        ("app: a\ngroups: !!python/object:os.system {g: {}}", 2, 9, "groups", "os.system has no"),
        ("app: a\nkind: batch\npriority: -1\ngroups: {g: {}}", 3, 11, "priority",
         "expected a priority, a whole number from 0 to 1000, found -1"),
        ("app: a\ngroups: {g: {tags: [app:b]}}", 2, 21, "groups.g.tags[0]",
         "it carries app:a and group:g anyway"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_place(
    text: str, line: int, column: int, field: str, message: str
) -> None:
    found = [p for p in problems(text) if message in p.message]
    assert [(p.file, p.field) for p in found] == [("a.yaml", field)]
    assert (found[0].line, found[0].column) == (line, column)


@pytest.mark.parametrize(
    ("item", "column", "field", "message"),
    [
        ('"{web, {web, 0, x}, node}"', 19, "", "found 'x'"),
        ("'{web, {web, 3, 1}, node}'", 16, "", "the minimum 3 is above the maximum 1"),
        ('!!str "{web, {web, 0, 1}, ?}"', 29, "", "'?' has no meaning"),
        ('"{web, \\u007bweb, 0, x}, node}"', 3, "", "(character 16 of the text)"),
        ("{web, {web, 0, 1}, node}", 9, "", "write it in quotes"),
        ("3", 3, "", 'expected a constraint: text such as "{web'),
        ("{constraint: '{a, {b, 0}, node}'}", 26, ".constraint", "expected ','"),
        ("{constraint: '{a, {b, 0, 1}, node}', wieght: 2}", 40, ".wieght", "'weight'?"),
        ("{constraint: '{a, {b, 0, 1}, node}', weight: -1}", 48, ".weight", "from 0 to"),
        ("{constraint: '{a, {b, 0, 1}, node}', weight: .nan}", 48, ".weight", "found .nan"),
        ("{constraint: '{a, {b, 0, 1}, node}', hard: 1}", 46, ".hard", "true or false"),
        ("{constraint: '{a, {b, 0, 1}, node}', expires: soon}", 49, ".expires", "such as 90s"),
        ("{constraint: '{a, {b, 0, 1}, node}', name: ' x'}", 46, ".name", "cannot name"),
        ("{name: x}", 3, ".constraint", "missing in a rule"),
        ("{subject: [a], targets: [{tags: [b]}]}", 3, ".group", "missing in a constraint"),
        ("{subject: [a], targets: [], group: node}", 27, ".targets", "at least one target"),
        ("{subject: [], targets: [{tags: [b]}], group: node}", 13, ".subject", "at least one tag"),
        ("{subject: [a], targets: [{tags: [b], min: 2, max: 1}], group: node}", 45,
         ".targets[0].min", "the minimum 2 is above the maximum 1"),
        ("{subject: [a], targets: [{tags: [b], max: many}], group: node}", 45,
         ".targets[0].max", "or inf, found the text 'many'"),
        ("{subject: [a], targets: [{tags: [b], maxi: 1}], group: node}", 40,
         ".targets[0].maxi", "did you mean 'max'?"),
        ("{subject: [others/a], targets: [{tags: [b]}], group: node}", 14, ".subject[0]",
         "no meaning in a subject"),
        ("{subject: [a], targets: [{tags: [b/c]}], group: node}", 36, ".targets[0].tags[0]",
         "b/ is no namespace"),
        ("{any: []}", 9, ".any", "at least one constraint"),
        ("{all: ['{a, {b, 0, 1}, node} | {a, {b, 0, 1}, rack}']}", 10, ".all[0]",
         "alternatives within all"),
    ],
)  # fmt: skip
def test_mistakes_in_constraints(item: str, column: int, field: str, message: str) -> None:
    [found] = problems(f"{GOOD}constraints:\n- {item}\n")
    assert (found.line, found.column, found.field) == (4, column, f"constraints[0]{field}")
    assert message in found.message


def test_two_rules_of_one_name() -> None:
    named = "{constraint: '{a, {b, 0, 1}, node}', name: n}"
    [found] = problems(f"{GOOD}constraints:\n- {named}\n- {named}\n")
    assert (found.line, found.field) == (5, "constraints[1]")
    assert "'n' stands before" in found.message


def test_operators_rules_are_checked_too() -> None:
    with pytest.raises(InputError) as caught:
        parse_rules(["{a, {b, 0, 1}}", {"constraint": "{a, {b, 0, 1}, node}", "hard": "yes"}])
    assert [p.field for p in caught.value.problems] == ["constraints[0]", "constraints[1].hard"]
    with pytest.raises(InputError, match="a list of constraints"):
        parse_rules("{a, {b, 0, 1}, node}")


def test_aliases_cannot_blow_up_what_is_read() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 12):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    assert any("values" in p.message for p in problems("\n".join(lines)))
    assert any("within what it names" in p.message for p in problems("app: &a [*a]"))


def test_depth_is_bounded() -> None:
    assert any("100 deep" in p.message for p in problems("app: " + "[" * 200 + "]" * 200))


@given(st.text("ab:{}[]-\n \"'&*!<>|#,?%@\\\t0é\x00\ufeff", max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for read in (parse_apps, parse_cluster):
        try:
            read(text, "f")
        except InputError as error:
            assert error.problems
            assert all(p.file == "f" and p.line >= 0 and p.message for p in error.problems)
