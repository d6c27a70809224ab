"""The examples do what they say, on a small scale."""

import importlib.util
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

from tests.host.executor.local import cluster

EXAMPLES = Path(__file__).parents[3] / "examples"


def example(name: str) -> ModuleType:
    """The example as a module that executors can import by name, as they would a script's."""
    file = EXAMPLES / name / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wordcount", "sweep", "fraud"):
        monkeypatch.syspath_prepend(EXAMPLES / name)


def test_word_count_counts_words(tmp_path: Path) -> None:
    texts = ["the cat and the hat", "The end; and the rest", ""]
    files = [tmp_path / f"{number}.txt" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    with cluster(cores=2) as client:
        found = example("wordcount").count(client, files, 3)
    expected = Counter(" ".join(texts).lower().replace(";", "").split())
    assert found == [("the", expected["the"]), ("and", expected["and"]), ("cat", 1)]


def test_sweep_finds_the_same_on_any_executor() -> None:
    sweep = example("sweep").sweep
    with cluster(cores=2) as client, ThreadPoolExecutor(1) as threads:
        assert sweep(client) == sweep(threads)


def test_fraud_is_found_better_as_training_goes_on() -> None:
    reports = []
    with cluster(cores=2) as client:
        for report in example("fraud").detect(client, seconds=300, rate=50, chunks=16):
            reports.append(report)
            if report.version >= 3:
                break
    versions = [report.version for report in reports]
    assert versions == sorted(versions)
    assert reports[-1].right / reports[-1].payments > 0.6
