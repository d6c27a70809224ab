"""The examples in the documentation do what it says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from colchis.errors import InputError
from colchis.model.cluster import Container
from colchis.model.constraints import Rule
from colchis.model.parse import parse_constraint
from colchis.model.resources import Resources
from colchis.semantics.checker import Counts, rule_extent
from colchis.specs import parse_apps, parse_cluster, parse_rules
from colchis.specs.schema import schema
from colchis_master.tasks.simulate import read_scenario

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("constraints.md", "specs.md")
FENCE = re.compile(r"^```(\w+)?(?: (\w+))?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def fences(page: str) -> Iterator[tuple[str, str]]:
    for language, word, body in FENCE.findall((DOCS / page).read_text(encoding="utf-8")):
        yield f"{language} {word}".strip(), body


def blocks(kind: str) -> list[tuple[str, str]]:
    return [(page, body) for page in PAGES for found, body in fences(page) if found == kind]


@pytest.mark.parametrize(("page", "body"), blocks("constraint"))
def test_constraints_are_in_canonical_form(page: str, body: str) -> None:
    for line in body.splitlines():
        assert str(parse_constraint(line)) == line


@pytest.mark.parametrize(("page", "body"), blocks("yaml"))
def test_yaml_is_read_and_fits_the_schema(page: str, body: str) -> None:
    plain = yaml.safe_load(body)
    if "app" in plain:
        assert len(parse_apps(body)) == 1
        Draft202012Validator(schema("app")).validate(plain)
    elif "nodes" in plain:
        assert parse_cluster(body).nodes
        Draft202012Validator(schema("cluster")).validate(plain)
    else:
        assert len(parse_rules(plain["constraints"])) == len(plain["constraints"])


def test_the_scenario_is_read_and_fits_the_schema(tmp_path: Path) -> None:
    [(_, body)] = blocks("yaml scenario")
    Draft202012Validator(schema("scenario")).validate(yaml.safe_load(body))
    file = tmp_path / "scenario.yaml"
    file.write_text(body)
    assert [job.name for job in read_scenario(file).jobs] == ["train", "score"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [(w, t) for (_, w), (_, t) in zip(blocks("yaml wrong"), blocks("text"), strict=True)],
)
def test_mistakes_are_told_as_shown(wrong: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_apps(wrong, "web.yaml")
    assert str(caught.value) == told.strip()


def test_the_table_of_extents() -> None:
    page = (DOCS / "constraints.md").read_text(encoding="utf-8")
    [snapshot] = [body for kind, body in fences("constraints.md") if body.startswith("nodes:")]
    cluster = parse_cluster(snapshot)
    subject = Container.of("app1/x/0", {"x"}, Resources())
    rows = re.findall(r"^\| `(\{[xy], .*)` \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == 10
    for text, cells in rows:
        rule = Rule(parse_constraint(text.replace("\\|", "|")), app="app1")
        found = [
            rule_extent(Counts(cluster), cluster, rule, subject, n.name) for n in cluster.nodes
        ]
        assert found == [float(cell) for cell in cells.split(" | ")], text
