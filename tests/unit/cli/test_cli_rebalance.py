"""`rebalance`, and the changes that `plan` shows for an app that runs."""

from tests.unit.api.fake_control import FakeControl
from tests.unit.cli.command import colchis


def test_moves_are_shown_or_made(live: FakeControl) -> None:
    colchis("run", "web.yaml", "--no-wait")
    shown = colchis("rebalance", "--plan", "--max-moves", 3)
    assert shown.code == 0
    assert live.asked[-1] == ("rebalance", 3, True)
    assert "web/w/0" in shown.out
    assert "apart: missed [less]" in shown.out
    assert "1 move would be made; rules are missed 2 times now, 0 afterwards" in shown.out
    made = colchis("rebalance")
    assert live.asked[-1] == ("rebalance", 10, False)
    assert "1 move begun" in made.out


def test_nothing_to_move(live: FakeControl) -> None:
    assert "nothing to move; rules are missed 0 times" in colchis("rebalance").out


def test_bounds_of_moves(live: FakeControl) -> None:
    assert colchis("rebalance", "--max-moves", 0).code == 2
    assert not live.asked


def test_a_plan_shows_what_changes_in_an_app_that_runs(live: FakeControl) -> None:
    assert "runs already" not in colchis("plan", "web.yaml").out
    colchis("run", "web.yaml", "--no-wait")
    shown = colchis("plan", "web.yaml").out
    assert "web runs already: 1 added, 1 removed, 1 changed, 1 moved, 1 kept" in shown
    rows = [line.split() for line in shown.splitlines() if line[:1] in "+-~>" and line[:1]]
    assert rows == [
        ["+", "web/w/3", "-", "n1", "-"],
        ["-", "web/v/0", "n2", "-", "-"],
        ["~", "web/w/0", "n1", "n1", "env"],
        [">", "web/w/1", "n1", "n2", "resources"],
    ]
    assert "+ rule apart" in shown
