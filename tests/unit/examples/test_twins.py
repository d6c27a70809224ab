"""Each example stands alone, so two modules are in both; a change to one is owed to the other."""

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize("module", ["wire", "discovery"])
def test_what_both_examples_carry_is_the_same(module: str) -> None:
    hbase = (EXAMPLES / f"hbase/hb_{module}.py").read_text()
    tensorflow = (EXAMPLES / f"tensorflow/tf_{module}.py").read_text()
    assert hbase.replace("from hb_", "from tf_") == tensorflow
