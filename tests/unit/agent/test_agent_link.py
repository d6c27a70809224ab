"""What an agent takes from its master's connection."""

import pytest

from colchis.wire.codec import FROM_MASTER, WireError
from colchis.wire.messages import FromMaster, ReadLog, Resume, Start, Stop, Suspend
from colchis_agent.service.link import order_in


def orders(container: str) -> list[FromMaster]:
    return [
        Start(1, 2, container, 3, ["sleep", "1"], {}, {"cpus": 500}, "always"),
        Stop(1, 2, container, 3, 10.0),
        Suspend(1, 2, container, 3),
        Resume(1, 2, container, 3),
        ReadLog(1, 2, container, 0, 100),
    ]


@pytest.mark.parametrize("container", ["app/web/0", "_/_/0", "../../etc/passwd"])
def test_orders_come_as_they_were_sent(container: str) -> None:
    for order in orders(container):
        assert order_in(FROM_MASTER.encode(order)) == order


def test_an_order_for_a_name_that_no_file_can_have_is_refused() -> None:
    for order in orders("\u20ac" * 100):
        with pytest.raises(WireError, match="cannot name"):
            order_in(FROM_MASTER.encode(order))
