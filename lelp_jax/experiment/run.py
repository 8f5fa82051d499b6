"""A run: one experiment with its config, data, inputs and workdir, as passed to every stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.inputs import Inputs


@dataclasses.dataclass(frozen=True)
class Run:
    """One experiment, as passed to every stage.

    Attributes:
        name: The experiment's name.
        root: The workdir, which holds the artifacts of all experiments launched in it.
        output: Where `results.jsonl`, `run.json` and `report/` are published: the workdir, or a
            folder in it for each point of a sweep.
        config: The experiment's config.
        dataset: Its data; if labels are hidden, without those of any training row, so that they
            can reach nothing by accident.
        known: The data as each teacher and its students know them, one per teacher.
        inputs: What the students see of the data.
        session: Progress, interrupts and the log of losses.
    """

    name: str
    root: Path
    output: Path
    config: Config
    dataset: Dataset
    known: tuple[Dataset, ...]
    inputs: Inputs
    session: Session
