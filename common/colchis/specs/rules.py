"""Rules in YAML: a constraint as text, or the same structure spelled out, and its properties."""

import math
from collections.abc import Iterable
from typing import Any

from colchis.model.constraints import Atom, Constraint, Rule, TagExpr, Target
from colchis.model.parse import NAME, ConstraintError, parse_constraint, parse_tags
from colchis.specs.cursor import Cursor, Report

MAX_BOUND = 999_999_999
_PROPERTIES = ("name", "weight", "hard", "expires")
_ATOM = ("subject", "targets", "group")
_TARGET = ("tags", "min", "max")
_FORM = 'a constraint: text such as "{web, {web, 0, 1}, node}", or a mapping'
_EMPTY = Constraint(())


def parse_rules(
    items: object, app: str | None = None, *, file: str = "", field: str = "constraints"
) -> tuple[Rule, ...]:
    """The operator's rules (or those of ``app``) from plain data: a list of texts and mappings.

    Raises InputError with everything that is wrong.
    """
    report = Report(file)
    rules = read_rules(Cursor.of(items, field, report), app)
    report.check()
    return rules


def read_rules(at: Cursor, app: str | None) -> tuple[Rule, ...]:
    """A list of rules, whose names differ."""
    rules = []
    names: set[str] = set()
    for item in at.items("a list of constraints"):
        rule = _rule(item, app)
        rules.append(rule)
        if rule.name and rule.name in names:
            item.fail(f"a constraint named {rule.name!r} stands before; names must differ")
        names.add(rule.name)
    return tuple(rules)


def rule_to_plain(rule: Rule) -> str | dict[str, Any]:
    """As written in a spec; text where the rule has no properties of its own."""
    plain: dict[str, Any] = {"constraint": str(rule.constraint)}
    if rule.name:
        plain["name"] = rule.name
    if rule.weight != 1:
        plain["weight"] = rule.weight
    if rule.hard:
        plain["hard"] = True
    if rule.expires is not None:
        plain["expires"] = rule.expires
    return plain if len(plain) > 1 else str(rule.constraint)


def rules_to_plain(rules: Iterable[Rule]) -> list[str | dict[str, Any]]:
    return [rule_to_plain(rule) for rule in rules]


def _rule(at: Cursor, app: str | None) -> Rule:
    data = at.value.data
    if not isinstance(data, dict):
        return Rule(_constraint(at), app=app)
    spelled = "constraint" not in data and any(key in data for key in (*_ATOM, "any", "all"))
    if spelled:
        fields = at.fields("a rule", (), (*_structure_keys(data), *_PROPERTIES))
        constraint = _structure(at, allow_others=True)
    else:
        fields = at.fields("a rule", ("constraint",), _PROPERTIES)
        inner = fields.get("constraint")
        constraint = _constraint(inner) if inner else _EMPTY
    name, weight = fields.get("name"), fields.get("weight")
    hard, expires = fields.get("hard"), fields.get("expires")
    return Rule(
        constraint,
        name=_rule_name(name) if name else "",
        app=app,
        weight=weight.number("a weight", 0) if weight else 1.0,
        hard=hard.flag("hard") if hard else False,
        expires=expires.duration("a lifetime") if expires else None,
    )


def _rule_name(at: Cursor) -> str:
    name = at.text("a name")
    if isinstance(at.value.data, str) and not (
        name.strip() == name and name.isprintable() and 1 <= len(name) <= 200
    ):
        at.fail(f"{name!r} cannot name a constraint; use 1 to 200 printable characters")
    return name


def _constraint(at: Cursor) -> Constraint:
    """A constraint as text or spelled out."""
    data = at.value.data
    if isinstance(data, str):
        try:
            return parse_constraint(data)
        except ConstraintError as error:
            for fault in error.faults:
                at.fail_inside(fault.offset, fault.message)
            return _EMPTY
    if isinstance(data, dict):
        return _structure(at)
    at.expected(_FORM)
    return _EMPTY


def _structure_keys(data: dict[str, Any]) -> tuple[str, ...]:
    for key in ("any", "all"):
        if key in data:
            return (key,)
    return _ATOM


def _structure(at: Cursor, *, allow_others: bool = False) -> Constraint:
    """``{subject, targets, group}``, ``{all: [...]}`` or ``{any: [...]}``."""
    data = at.value.data
    assert isinstance(data, dict)
    keys = _structure_keys(data)
    # A rule that is itself spelled out has been searched for unknown keys with its properties.
    read = at.open_fields if allow_others else at.fields
    fields = read("a constraint", keys)
    if keys == _ATOM:
        subject, targets, group = (fields.get(key) for key in _ATOM)
        return Constraint(
            (
                (
                    Atom(
                        _tags(subject, subject=True) if subject else TagExpr(()),
                        _targets(targets) if targets else (),
                        _group(group) if group else "",
                    ),
                ),
            )
        )
    parts = fields.get(keys[0])
    items = parts.items("a list of constraints") if parts else []
    if parts and not items and isinstance(parts.value.data, list):
        parts.fail("an empty list; name at least one constraint")
    if keys == ("any",):
        return Constraint(tuple(c for item in items for c in _constraint(item).alternatives))
    return Constraint((tuple(atom for item in items for atom in _conjunction(item)),))


def _conjunction(at: Cursor) -> tuple[Atom, ...]:
    alternatives = _constraint(at).alternatives
    if len(alternatives) > 1:
        at.fail("alternatives within all; write any outside and all inside")
    return alternatives[0] if alternatives else ()


def _targets(at: Cursor) -> tuple[Target, ...]:
    if isinstance(at.value.data, dict):
        return (_target(at),)
    items = at.items("a list of targets, each {tags, min, max}")
    if not items and isinstance(at.value.data, list):
        at.fail("an empty list; name at least one target {tags, min, max}")
    return tuple(_target(item) for item in items)


def _target(at: Cursor) -> Target:
    fields = at.fields("a target", ("tags",), ("min", "max"))
    tags, low, high = (fields.get(key) for key in _TARGET)
    minimum = low.whole("a minimum", 0, MAX_BOUND) if low else 0
    maximum = _maximum(high) if high else None
    if low and maximum is not None and minimum > maximum:
        low.fail(f"the minimum {minimum} is above the maximum {maximum}")
    return Target(_tags(tags, subject=False) if tags else TagExpr(()), minimum, maximum)


def _maximum(at: Cursor) -> int | None:
    data = at.value.data
    if data in ("inf", "∞") or (isinstance(data, float) and data == math.inf):
        return None
    if isinstance(data, str | float):
        at.expected(f"a maximum: a whole number from 0 to {MAX_BOUND}, or inf")
        return None
    return at.whole("a maximum", 0, MAX_BOUND)


def _tags(at: Cursor, *, subject: bool) -> TagExpr:
    """Tags that one container has all of: a list, or text as in a constraint."""
    if isinstance(at.value.data, str):
        return _tags_text(at, subject=subject)
    items = at.items("tags: a list, or text such as hb & mem")
    if not items and isinstance(at.value.data, list):
        at.fail("an empty list; name at least one tag")
    return TagExpr(
        tuple(
            ref
            for item in items
            if isinstance(item.text("a tag"), str) and isinstance(item.value.data, str)
            for ref in _tags_text(item, subject=subject).refs
        )
    )


def _tags_text(at: Cursor, *, subject: bool) -> TagExpr:
    try:
        return parse_tags(at.text("tags"), subject=subject)
    except ConstraintError as error:
        for fault in error.faults:
            at.fail_inside(fault.offset, fault.message)
        return TagExpr(())


def _group(at: Cursor) -> str:
    group = at.text("a node group, such as node or rack")
    if isinstance(at.value.data, str) and not NAME.fullmatch(group):
        at.fail(f"{group!r} cannot be a node group; write a name such as node or rack")
    return group
