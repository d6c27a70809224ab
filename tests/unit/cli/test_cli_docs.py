"""docs/command.md describes every verb and every option as they are."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from colchis.cli.main import app
from colchis.specs.schema import SCHEMAS
from tests.unit.api.fake_control import FakeControl
from tests.unit.cli.command import colchis
from tests.unit.cli.test_cli_planning import SCENARIO

PAGE = (Path(__file__).parents[3] / "docs/command.md").read_text(encoding="utf-8")
SECTIONS = dict(
    re.findall(r"^### `colchis ([a-z ]+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
)
COMMON = {"--help", "--connection", "--output", "-o"}


def verbs(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    for word, below in getattr(command, "commands", {}).items():
        yield from verbs(below, f"{name} {word}".strip())
    if not hasattr(command, "commands"):
        yield name, command


VERBS = dict(verbs())


def options(verb: str) -> set[str]:
    named = {
        word
        for parameter in VERBS[verb].params
        for word in (*parameter.opts, *parameter.secondary_opts)
        if word.startswith("-")
    }
    return named | {"--help"}


def examples(verb: str) -> Iterator[list[str]]:
    """The words after ``colchis VERB`` of each example of a section."""
    for block in re.findall(r"^```console\n(.*?)^```$", SECTIONS[verb], re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            start = ["$", "colchis", *verb.split()]
            assert words[: len(start)] == start, line
            yield words[len(start) :]


def test_every_verb_is_described_and_no_other() -> None:
    assert set(SECTIONS) == set(VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_examples_use_the_options_there_are_and_all_of_them(verb: str) -> None:
    used = {word for words in examples(verb) for word in words if re.match(r"--?[a-z]", word)}
    assert used <= options(verb)
    shown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", SECTIONS[verb]))
    needed = {o for o in options(verb) if o.startswith("--") and not o.startswith("--no-")}
    assert needed - COMMON <= shown


@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_each_verb_has_an_example(verb: str) -> None:
    assert list(examples(verb))


def test_the_fields_of_each_answer(live: FakeControl, files: Path) -> None:
    (files / "scenario.yaml").write_text(SCENARIO)
    live.emit("tick", "now")
    asked = {
        "run": ["run", "web.yaml"],
        "status": ["status"],
        "plan": ["plan", "--cluster", "cluster.yaml", "web.yaml"],
        "explain": ["explain", "web/w/0"],
        "rebalance": ["rebalance", "--plan"],
        "constraint list": ["constraint", "list"],
        "node list": ["node", "list"],
        "job list": ["job", "list"],
        "job tasks": ["job", "tasks", "train"],
        "events": ["events"],
        "story": ["story", "web"],
        "snapshot": ["snapshot"],
        "top": ["top"],
        "simulate": ["simulate", "scenario.yaml"],
    }
    described = {verb for verb, text in SECTIONS.items() if "\nJSON: " in text}
    assert described == set(asked)
    for verb, arguments in asked.items():
        [first] = re.findall(r"^JSON: ((?:`\w+`,?\s)*`\w+`)", SECTIONS[verb], re.MULTILINE)
        done = colchis(*arguments, "-o", "json")
        assert set(re.findall(r"`(\w+)`", first)) <= set(done.json), verb
        assert list(done.json)[: first.count("`") // 2] == re.findall(r"`(\w+)`", first), verb


def test_all_schemas_are_named() -> None:
    for kind in SCHEMAS:
        assert f"`{kind}`" in SECTIONS["schema"]
