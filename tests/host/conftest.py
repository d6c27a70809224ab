"""Which tests may run side by side, under ``pytest -n N --dist loadgroup``."""

import pytest

UP = {"test_demonstration", "test_first_use"}
"""They run ``colchis up``, whose containers have the same ports wherever it runs."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one module, which share what is costly to start, stay together."""
    for item in items:
        module = item.path.stem
        group = "up" if module in UP else module
        item.add_marker(pytest.mark.xdist_group(group))
