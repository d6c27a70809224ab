"""The text form of constraints: every value can be written and read, faults have columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colchis.model.constraints import (
    Atom,
    Constraint,
    Rule,
    Scope,
    TagExpr,
    TagRef,
    Target,
)
from colchis.model.parse import ConstraintError, parse_constraint, parse_tags
from tests.unit.model.model_strategies import constraints, expressions


def tags(*refs: str | TagRef) -> TagExpr:
    return TagExpr(tuple(TagRef(ref) if isinstance(ref, str) else ref for ref in refs))


@given(constraints)
def test_what_is_written_is_read_back(constraint: Constraint) -> None:
    assert parse_constraint(str(constraint)) == constraint


@given(constraints)
def test_blanks_and_mathematical_signs_mean_the_same(constraint: Constraint) -> None:
    spaced = str(constraint).replace("{", " {  ").replace(",", "\t, ").replace("}", " } ")
    signs = str(constraint).replace(" & ", "∧").replace(" | ", "∨").replace(" inf}", "∞}")
    assert parse_constraint(spaced) == parse_constraint(signs) == constraint


@given(expressions)
def test_a_tag_expression_is_read_back(expression: TagExpr) -> None:
    assert parse_tags(str(expression), subject=False) == expression


@given(st.text("{}&|,/ ∧∨∞ab019:-+inf", max_size=60))
def test_any_text_is_read_or_refused_with_columns_inside_it(text: str) -> None:
    try:
        constraint = parse_constraint(text)
    except ConstraintError as error:
        assert error.faults
        assert all(0 <= fault.offset <= len(text) for fault in error.faults)
    else:
        assert parse_constraint(str(constraint)) == constraint


def test_conjunction_within_a_target() -> None:
    read = parse_constraint("{storm, {hb & mem, 1, inf}, node}")
    assert read == Constraint(
        ((Atom(tags("storm"), (Target(tags("hb", "mem"), 1, None),), "node"),),)
    )


def test_two_targets_over_the_same_set() -> None:
    read = parse_constraint("{web, {cache, 1, inf} & {db, 0, 0}, rack}")
    [[atom]] = read.alternatives
    assert atom.targets == (Target(tags("cache"), 1, None), Target(tags("db"), 0, 0))


def test_and_binds_tighter_than_or() -> None:
    text = "{a, {b, 1, inf}, node} | {a, {b, 1, inf}, rack} & {a, {c, 0, 2}, node}"
    read = parse_constraint(text)
    assert [len(all_of) for all_of in read.alternatives] == [1, 2]
    assert str(read) == text


def test_scopes() -> None:
    read = parse_constraint("{x, {self/a & others/b & app/web/c & d, 0, 0}, node}")
    [[atom]] = read.alternatives
    assert atom.targets[0].expr == tags(
        TagRef("a", Scope.SELF), TagRef("b", Scope.OTHERS), TagRef("c", Scope.APP, "web"), "d"
    )


def test_names_of_scopes_are_tags_where_no_slash_follows() -> None:
    [[atom]] = parse_constraint("{self, {app & others & inf, 0, 1}, app}").alternatives
    assert (atom.subject, atom.group) == (tags("self"), "app")
    assert atom.targets[0].expr == tags("app", "others", "inf")


def test_tags_that_containers_carry_by_their_name() -> None:
    [[atom]] = parse_constraint("{app:web, {group:db, 0, 0}, node}").alternatives
    assert atom.subject == tags("app:web")


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("", 1, "expected '{'"),
        ("web", 1, "expected '{'"),
        ("{web}", 5, "after the subject"),
        ("{, {a, 1, 2}, node}", 2, "expected a tag, found ','"),
        ("{web, {web, 0, x}, node}", 16, "a whole number or inf, found 'x'"),
        ("{web, {web, -1, 1}, node}", 13, "a minimum, a whole number"),
        ("{web, {web, 1.5, 2}, node}", 13, "found '1.5'"),
        ("{web, {web, inf, inf}, node}", 13, "a minimum"),
        ("{web, {web, 3, 1}, node}", 13, "the minimum 3 is above the maximum 1"),
        ("{web, {web, 0, 1}}", 18, "between the targets and the node group"),
        ("{web, {web, 0, 1}, node", 24, "found the end"),
        ("{web, {web, 0, 1}, node} x", 26, "expected '&', '|' or the end, found 'x'"),
        ("{web, {web, 0, 1}, node} &", 27, "expected '{'"),
        ("{web, {web; 0, 1}, node}", 11, "';' has no meaning"),
        ("{web, {mine/web, 0, 1}, node}", 8, "mine/ is no namespace"),
        ("{others/web, {web, 0, 1}, node}", 2, "no meaning in a subject"),
        ("{web, {app/shop, 0, 1}, node}", 16, "an app's name and a tag"),
        ("{web, {web, 0, 1}, no/de}", 22, "to end {subject"),
        ("{web-, {web, 0, 1}, node}", 2, "expected a tag, found 'web-'"),
        ("{web, {web, 0, ９}, node}", 16, "'９' has no meaning"),
        ("{web, {web, 0, 1234567890}, node}", 16, "a whole number or inf"),
    ],
)
def test_faults_have_columns(text: str, column: int, message: str) -> None:
    with pytest.raises(ConstraintError) as caught:
        parse_constraint(text)
    [fault] = caught.value.faults
    assert fault.offset + 1 == column
    assert message in fault.message


def test_faults_of_meaning_are_all_found() -> None:
    with pytest.raises(ConstraintError) as caught:
        parse_constraint("{others/a, {b, 2, 1} & {mine/c, 0, 0}, node}")
    assert [fault.offset for fault in caught.value.faults] == [1, 15, 24]


def test_a_tag_expression_ends_where_the_text_ends() -> None:
    with pytest.raises(ConstraintError) as caught:
        parse_tags("a & b, c", subject=True)
    assert caught.value.faults[0].offset == 5


def test_a_rule_is_labelled_by_its_name_or_its_canonical_text() -> None:
    constraint = parse_constraint("{a,{b,0,∞},node}")
    assert Rule(constraint).label == "{a, {b, 0, inf}, node}"
    assert Rule(constraint, name="near").label == "near"
