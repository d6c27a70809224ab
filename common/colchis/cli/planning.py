"""`plan`, `explain` and `schema`: what would happen, and why."""

import json
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from colchis.cli.connect import ConnectionOption, client
from colchis.cli.output import Output, OutputOption, show, table
from colchis.cli.targets import ContainerOption
from colchis.cli.warnings import labelled, rules_of, rules_on, warn_of_groups
from colchis.errors import InputError, Problem
from colchis.model.app import AppSpec
from colchis.model.change import changes_on, emptied, keep_homes
from colchis.model.cluster import Cluster, ContainerId
from colchis.specs import app_to_dict, read_apps, read_cluster
from colchis.specs.schema import SCHEMAS, schema

SpecArguments = Annotated[list[Path], typer.Argument(help="App specs; - is standard input.")]
ClusterOption = Annotated[
    Path | None,
    typer.Option("--cluster", help="A snapshot to plan on; no master is asked."),
]
ALGORITHMS = ("ilp", "serial", "tag-popularity", "node-candidates", "j-kube", "j-kube++", "yarn")


def register(app: typer.Typer) -> None:
    app.command("plan")(plan)
    app.command("explain")(explain)
    app.command("schema")(print_schema)


def plan(
    specs: SpecArguments,
    cluster: ClusterOption = None,
    algorithm: Annotated[
        str, typer.Option(help=f"One of {', '.join(ALGORITHMS)}; all compares them.")
    ] = "ilp",
    mode: Annotated[str, typer.Option(help="ordered or weighted.")] = "ordered",
    time_limit: Annotated[
        float, typer.Option("--time-limit", help="Seconds for the solver.", min=0.01, max=86_400)
    ] = 10.0,
    seed: Annotated[int, typer.Option(help="Of the choices among equals.")] = 0,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Show where apps would be placed, and what would be missed; nothing is changed."""
    if algorithm not in (*ALGORITHMS, "all"):
        raise InputError.of(
            f"{algorithm!r} is no algorithm; choose from {', '.join((*ALGORITHMS, 'all'))}",
            field="--algorithm",
        )
    if mode not in ("ordered", "weighted"):
        raise InputError.of(f"{mode!r} is no mode; ordered or weighted", field="--mode")
    chosen = ALGORITHMS if algorithm == "all" else (algorithm,)
    if cluster is not None:
        plans = _plan_offline(specs, cluster, chosen, mode, time_limit, seed)
    else:
        read = read_apps(specs)
        apps = [app_to_dict(app) for app in read]
        with client(connection) as master:
            plans = [
                master.plan(apps, {"algorithm": name, "mode": mode, "time_limit": time_limit})
                for name in chosen
            ]
            warn_of_groups(rules_of(read), master)
    if algorithm == "all":
        show(output, {"plans": plans}, _comparison(plans))
    else:
        show(output, plans[0], _plan_tables(plans[0]))
    if not all(app["placed"] for found in plans for app in found["apps"]):
        raise typer.Exit(1)


def _plan_offline(
    specs: list[Path],
    cluster: Path,
    algorithms: Iterable[str],
    mode: str,
    time_limit: float,
    seed: int,
) -> list[dict[str, Any]]:
    from colchis_master.lra import Settings, schedule

    snapshot, apps = _read_both(specs, cluster)
    warn_of_groups([*rules_of(apps), *labelled(snapshot.rules)], snapshot)
    settings = Settings(mode=mode, time_limit=time_limit)
    found = changes_on(snapshot, apps)
    before = emptied(snapshot, apps, found)
    plans = []
    for name in algorithms:
        rng = random.Random(seed)
        made = schedule(
            before, apps, algorithm=name, settings=settings, clock=time.monotonic, rng=rng
        )
        kept = keep_homes(made, found)
        plans.append({**kept.to_contract(), "changes": [one.to_contract(kept) for one in found]})
    return plans


def _read_both(specs: list[Path], cluster: Path) -> tuple[Cluster, tuple[AppSpec, ...]]:
    """Snapshot and apps, or every problem of both."""
    problems: list[Problem] = []
    snapshot = Cluster()
    apps: tuple[AppSpec, ...] = ()
    try:
        snapshot = read_cluster(cluster)
    except InputError as error:
        problems += error.problems
    try:
        apps = read_apps(specs)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    return snapshot, apps


def _plan_tables(plan: dict[str, Any]) -> Iterable[Table | str]:
    yield table(
        ("CONTAINER", "NODE"),
        (
            (placed["container"], placed["node"])
            for app in plan["apps"]
            for placed in app["containers"]
        ),
    )
    for app in plan["apps"]:
        if not app["placed"]:
            how = "not wholly" if app["containers"] else "not"
            yield f"\n{app['app']} is {how} placed:"
            yield from (f"  {reason}" for reason in app["reasons"])
    for change in plan.get("changes", ()):
        yield from _change(change)
    if plan["violations"]:
        yield ""
        yield table(
            ("MISSES", "CONTAINER", "EXTENT"),
            ((v["constraint"], v["container"], f"{v['extent']:.3g}") for v in plan["violations"]),
        )
    totals = plan["totals"]
    yield (
        f"\n{totals['placed']} of {totals['containers']} containers placed on "
        f"{totals['nodes_used']} nodes in use; {totals['violating']} of {totals['subjects']} "
        f"subjects miss a rule; {_quality(plan)} after {plan['seconds']:.2f} s"
    )
    yield from plan.get("notes", ())


def _change(change: dict[str, Any]) -> Iterable[Table | str]:
    counts = [f"{len(change[what])} {what}" for what in ("added", "removed", "changed", "moved")]
    yield f"\n{change['app']} runs already: {', '.join(counts)}, {change['kept']} kept"
    rows: list[tuple[str | None, ...]] = [
        ("+", c["container"], None, c["node"], None) for c in change["added"]
    ]
    rows += [("-", c["container"], c["node"], None, None) for c in change["removed"]]
    rows += [
        ("~", c["container"], c["node"], c["node"], ", ".join(c["fields"]))
        for c in change["changed"]
    ]
    rows += [
        (">", c["container"], c["from"], c["to"], ", ".join(c["fields"])) for c in change["moved"]
    ]
    if rows:
        yield table(("", "CONTAINER", "FROM", "TO", "CHANGED"), rows)
    yield from _rules(change)


def _rules(change: dict[str, Any]) -> Iterable[str]:
    yield from (f"  + rule {label}" for label in change["rules_added"])
    yield from (f"  - rule {label}" for label in change["rules_removed"])


def _quality(plan: dict[str, Any]) -> str:
    if plan["optimal"]:
        return f"{plan['algorithm']}: proven best"
    if plan["gap"] is None:
        return f"{plan['algorithm']}: no bound known"
    return f"{plan['algorithm']}: at most {plan['gap']:.1%} from the best"


def _comparison(plans: list[dict[str, Any]]) -> Iterable[Table | str]:
    yield table(
        ("ALGORITHM", "PLACED", "VIOLATING", "EXTENT", "NODES", "OBJECTIVE", "GAP", "SECONDS"),
        (
            (
                plan["algorithm"],
                f"{plan['totals']['placed']}/{plan['totals']['containers']}",
                f"{plan['totals']['violating']}/{plan['totals']['subjects']}",
                f"{plan['totals']['extent']:.3g}",
                plan["totals"]["nodes_used"],
                f"{plan['objective']:.4f}",
                None if plan["gap"] is None else f"{plan['gap']:.2%}",
                f"{plan['seconds']:.3f}",
            )
            for plan in plans
        ),
    )
    for change in plans[0]["changes"]:
        replaced = len(change["changed"]) + len(change["moved"])
        counts = f"{len(change['added'])} added, {len(change['removed'])} removed"
        yield f"{change['app']} runs already: {counts}, {replaced} replaced, {change['kept']} kept"
        yield from _rules(change)


def explain(
    specs: Annotated[
        list[str] | None,
        typer.Argument(help="App specs (with --cluster), or the container to explain, live."),
    ] = None,
    cluster: ClusterOption = None,
    container: ContainerOption = None,
    output: OutputOption = Output.TABLE,
    connection: ConnectionOption = None,
) -> None:
    """Say for each node whether a container fits and is satisfied there, with every reason."""
    given = specs or []
    if cluster is None and container is None and len(given) == 1:
        container, given = given[0], []
    if container is None:
        raise InputError.of("which container? give app/group/index", field="--container")
    try:
        ident = ContainerId.parse(container)
    except ValueError as error:
        raise InputError.of(str(error), field="--container") from None
    if cluster is not None:
        explanation = _explain_offline([Path(spec) for spec in given], cluster, ident)
    elif given:
        raise InputError.of("specs are explained on a snapshot; name one", field="--cluster")
    else:
        with client(connection) as master:
            explanation = master.explain(container)
            warn_of_groups(rules_on(ident.app, master), master)
    show(output, explanation, _explanation_tables(explanation))


def _explain_offline(specs: list[Path], cluster: Path, ident: ContainerId) -> dict[str, Any]:
    from colchis_master.lra import UnknownContainerError
    from colchis_master.lra import explain as explain_on

    snapshot, apps = _read_both(specs, cluster)
    bearing = [rule for rule in snapshot.rules if rule.app in (None, ident.app)]
    own = [app for app in apps if app.name == ident.app]
    warn_of_groups([*rules_of(own), *labelled(bearing)], snapshot)
    try:
        return explain_on(snapshot, apps, ident).to_contract()
    except UnknownContainerError:
        raise InputError.of(
            f"neither the specs nor the snapshot have a container {ident}", field="--container"
        ) from None


def _explanation_tables(explanation: dict[str, Any]) -> Iterable[Table | str]:
    yield table(
        ("NODE", "FITS", "SATISFIED", "REASONS"),
        (
            (
                node["node"],
                "yes" if node["fits"] else "no",
                "yes" if node["satisfied"] else "no",
                "\n".join(_reasons(node)),
            )
            for node in explanation["nodes"]
        ),
    )
    yield from explanation.get("summary", ())


def _reasons(node: dict[str, Any]) -> Iterable[str]:
    yield from node["reasons"]
    for label in node.get("breaks", ()):
        yield f"rule {label} of others would be missed by more"


def print_schema(
    kind: Annotated[str, typer.Argument(help=f"One of {', '.join(SCHEMAS)}.")] = "app",
) -> None:
    """Print the JSON schema of a file that Colchis reads, for editors and checkers."""
    if kind not in SCHEMAS:
        raise InputError.of(f"{kind!r} has no schema; choose from {', '.join(SCHEMAS)}")
    print(json.dumps(schema(kind), indent=2))
