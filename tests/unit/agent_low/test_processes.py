"""Who belongs to a group without cgroups."""

from hypothesis import given
from hypothesis import strategies as st

from colchis_agent.cgroups.proc import Process, Processes

PIDS = st.integers(1, 12)


@given(st.dictionaries(PIDS, st.tuples(PIDS, PIDS)), st.sets(PIDS))
def test_members_are_the_roots_their_sessions_and_all_descendants(
    shape: dict[int, tuple[int, int]], wanted: set[int]
) -> None:
    everyone = {
        pid: Process(pid, "S", parent, session, 0, 1, 0.0, 0)
        for pid, (parent, session) in shape.items()
    }
    roots = wanted & everyone.keys()
    members: set[int] = set()
    grown = set(roots)
    while grown - members:
        members |= grown
        grown = {
            one.pid for one in everyone.values() if one.parent in members or one.session in roots
        }
    assert Processes(everyone).below(roots) == {pid: everyone[pid] for pid in members}
