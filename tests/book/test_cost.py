"""The archived benchmark as the book shows it."""

import json

from arlrepro.book.tables import networks
from arlrepro.paths import RESULTS, root


def test_the_memory_of_a_training_is_that_of_the_archived_benchmark():
    stored = json.loads((root() / RESULTS / "benchmark.json").read_text())["memory"]
    assert networks.memory()["peak memory, MiB"].tolist() == [round(row["MiB"]) for row in stored]
