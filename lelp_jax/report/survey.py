"""What a teacher's embedding looks like and promises, made once for all reports on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts, files
from lelp_jax.data.dataset import Dataset

STAGE = "surveys"
_VERSION = 1
_POINTS = "points.json"


class Survey(NamedTuple):
    """What was found.

    Attributes:
        facts: As `diagnostics.diagnose` returns them.
        points: As `explorer.views` returns them.
    """

    facts: Mapping[str, Any]
    points: Mapping[str, Any]


def ensure(root: Path, dataset: Dataset, bank: Bank) -> Survey:
    """Returns the survey of a teacher's embedding, made now or before.

    Args:
        root: The workdir.
        dataset: The data.
        bank: The teacher's answers.
    """

    def build(folder: Path) -> Mapping[str, Any]:
        from lelp_jax.report.diagnostics import signs as diagnostics
        from lelp_jax.report.explorer import page as explorer

        facts = diagnostics.diagnose(dataset, bank)
        points = explorer.views(dataset, bank, num_subclasses=facts["num_subclasses"])
        files.write_atomic(folder / _POINTS, json.dumps(files.clean(points)))
        return facts

    def load(folder: Path, facts: Mapping[str, Any]) -> Survey:
        return Survey(facts, json.loads((folder / _POINTS).read_text()))

    # Neither the bank nor the data need depend on how much of a text is seen.
    key = {"version": _VERSION, "bank": bank.fingerprint, "max_length": dataset.max_length}
    return artifacts.run(root, STAGE, key, build, load)
