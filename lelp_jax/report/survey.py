"""The survey of a teacher's embedding: diagnostics and the explorer's points.

It depends on the teacher's outputs only, so all reports on one teacher share it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts, files
from lelp_jax.data.dataset import Dataset

STAGE = "surveys"
_VERSION = 2
_POINTS = "points.json"


class Survey(NamedTuple):
    """Diagnostics and points of one teacher's embedding.

    Attributes:
        facts: The result of `diagnosis.diagnose`.
        points: The result of `page.compute_points`.
    """

    facts: Mapping[str, Any]
    points: Mapping[str, Any]


def ensure(root: Path, dataset: Dataset, bank: Bank) -> Survey:
    """Computes the survey of a teacher's embedding, or loads it from an earlier launch.

    Args:
        root: The workdir.
        dataset: The data.
        bank: The teacher's outputs.
    """

    def build(folder: Path) -> Mapping[str, Any]:
        from lelp_jax.report.diagnostics import diagnosis
        from lelp_jax.report.explorer import page

        facts = diagnosis.diagnose(dataset, bank)
        points = page.compute_points(dataset, bank, num_subclasses=facts["num_subclasses"])
        files.write_atomic(folder / _POINTS, json.dumps(files.clean(points)))
        return facts

    def load(folder: Path, facts: Mapping[str, Any]) -> Survey:
        return Survey(facts, json.loads((folder / _POINTS).read_text()))

    # The bank's fingerprint need not cover the length limit of texts, but the probe depends on it.
    key = {"version": _VERSION, "bank": bank.fingerprint, "max_length": dataset.max_length}
    return artifacts.run(root, STAGE, key, build, load)
