"""Reading the constraint language from text.

    constraint := all-of ('|' all-of)*
    all-of     := atom ('&' atom)*
    atom       := '{' tags ',' target ('&' target)* ',' group '}'
    target     := '{' tags ',' minimum ',' (maximum | 'inf') '}'
    tags       := ref ('&' ref)*
    ref        := ['self/' | 'others/' | 'app/' name '/'] tag

``∧ ∨ ∞`` are accepted for ``& | inf``. Blanks mean nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from colchis.errors import ColchisError
from colchis.model.constraints import Atom, Constraint, Scope, TagExpr, TagRef, Target

NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:-]*[A-Za-z0-9_])?")
_TOKEN = re.compile(r"\s*(?:(?P<mark>[{},/&|∧∨∞])|(?P<word>[A-Za-z0-9_.:+-]+)|(?P<bad>\S))")
_SAME = {"∧": "&", "∨": "|", "∞": "inf"}
T = TypeVar("T")
_FORM = "{subject, {tags, minimum, maximum}, group}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a constraint's text; ``offset`` counts characters from 0."""

    offset: int
    message: str


class ConstraintError(ColchisError):
    """A text that is no constraint; carries every fault found."""

    def __init__(self, text: str, faults: list[Fault]) -> None:
        self.text = text
        self.faults = tuple(faults)
        super().__init__("; ".join(f"column {f.offset + 1}: {f.message}" for f in faults))


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    offset: int


class _SyntaxFaultError(Exception):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault


def parse_constraint(text: str) -> Constraint:
    """The constraint that ``text`` writes. Raises ConstraintError with all that is wrong."""
    return _Parser(text).parse()


def parse_tags(text: str, *, subject: bool) -> TagExpr:
    """The tag expression that ``text`` writes, such as ``hb & self/mem``.

    ``others/`` has no meaning in a ``subject``. Raises ConstraintError with all that is wrong.
    """
    return _Parser(text).parse_tags(subject=subject)


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[_Token] = []
        self._at = 0
        self._faults: list[Fault] = []

    def parse(self) -> Constraint:
        return self._whole(self._any_of, "'&', '|' or the end")

    def parse_tags(self, *, subject: bool) -> TagExpr:
        return self._whole(lambda: self._tags(subject=subject), "'&' or the end")

    def _whole(self, read: Callable[[], T], more: str) -> T:
        """What ``read`` makes of the whole text."""
        try:
            self._tokenise()
            result = read()
            if self._peek().text:
                self._fail(f"expected {more}, found {self._found()}")
        except _SyntaxFaultError as stop:
            raise ConstraintError(self._text, [*self._faults, stop.fault]) from None
        if self._faults:
            raise ConstraintError(self._text, self._faults)
        return result

    def _any_of(self) -> Constraint:
        alternatives = [self._all_of()]
        while self._accept("|"):
            alternatives.append(self._all_of())
        return Constraint(tuple(alternatives))

    def _tokenise(self) -> None:
        end = len(self._text.rstrip())
        position = 0
        while position < end:
            match = _TOKEN.match(self._text, position)
            assert match is not None
            position = match.end()
            kind = match.lastgroup
            assert kind is not None
            word, offset = match[kind], match.start(kind)
            if kind == "bad":
                raise _SyntaxFaultError(Fault(offset, f"{word!r} has no meaning in a constraint"))
            self._tokens.append(_Token(_SAME.get(word, word), offset))
        self._tokens.append(_Token("", end))

    def _all_of(self) -> tuple[Atom, ...]:
        atoms = [self._atom()]
        while self._accept("&"):
            atoms.append(self._atom())
        return tuple(atoms)

    def _atom(self) -> Atom:
        self._expect("{", f"a constraint has the form {_FORM}")
        subject = self._tags(subject=True)
        self._expect(",", "after the subject")
        targets = [self._target()]
        while self._accept("&"):
            targets.append(self._target())
        self._expect(",", "between the targets and the node group")
        group = self._name("a node group, such as node or rack")
        self._expect("}", f"to end {_FORM}")
        return Atom(subject, tuple(targets), group)

    def _target(self) -> Target:
        self._expect("{", "a target has the form {tags, minimum, maximum}")
        expr = self._tags(subject=False)
        self._expect(",", "before the minimum")
        start = self._peek().offset
        minimum = self._number("a minimum, a whole number from 0 on")
        self._expect(",", "before the maximum")
        maximum = None if self._accept("inf") else self._number("a maximum: a whole number or inf")
        self._expect("}", "to end {tags, minimum, maximum}")
        if maximum is not None and minimum > maximum:
            self._faults.append(
                Fault(start, f"the minimum {minimum} is above the maximum {maximum}")
            )
        return Target(expr, minimum, maximum)

    def _tags(self, *, subject: bool) -> TagExpr:
        refs = [self._ref(subject=subject)]
        while self._accept("&"):
            refs.append(self._ref(subject=subject))
        return TagExpr(tuple(refs))

    def _ref(self, *, subject: bool) -> TagRef:
        start = self._peek().offset
        first = self._name("a tag")
        if not self._accept("/"):
            return TagRef(first)
        second = self._name("a tag after '/'")
        if first == "app":
            self._expect("/", "app/ is followed by an app's name and a tag: app/web/cache")
            return TagRef(self._name("a tag after the app's name"), Scope.APP, second)
        if first not in (Scope.SELF.value, Scope.OTHERS.value):
            self._faults.append(
                Fault(start, f"{first}/ is no namespace; write self/, others/ or app/NAME/")
            )
        elif subject and first == Scope.OTHERS.value:
            self._faults.append(
                Fault(start, "others/ has no meaning in a subject, only in what it counts")
            )
        else:
            return TagRef(second, Scope(first))
        return TagRef(second)

    def _name(self, what: str) -> str:
        token = self._peek()
        if not NAME.fullmatch(token.text):
            self._fail(f"expected {what}, found {self._found()}")
        self._at += 1
        return token.text

    def _number(self, what: str) -> int:
        token = self._peek()
        if not (token.text.isascii() and token.text.isdecimal()) or len(token.text) > 9:
            self._fail(f"expected {what}, found {self._found()}")
        self._at += 1
        return int(token.text)

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _found(self) -> str:
        text = self._peek().text
        return repr(text) if text else "the end"

    def _accept(self, text: str) -> bool:
        if self._peek().text != text:
            return False
        self._at += 1
        return True

    def _expect(self, text: str, why: str) -> None:
        if not self._accept(text):
            self._fail(f"expected {text!r} ({why}), found {self._found()}")

    def _fail(self, message: str) -> None:
        raise _SyntaxFaultError(Fault(self._peek().offset, message))
