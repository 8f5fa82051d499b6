"""The projection stage: fits what splits the classes, once per replicate and setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts, seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.experiment.run import Run
from lelp_jax.methods.base import Method
from lelp_jax.projection import base, scoring
from lelp_jax.projection.base import Projection, Projector, Stored
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.storage.checked import checksum
from lelp_jax.storage.rows import Selection
from lelp_jax.students.replicates import Replicate

STAGE = "projections"


def ensure(
    run: Run, method: Method, static: Mapping[str, Value], replicate: Replicate
) -> Projection:
    """Fits the projection of a method for a replicate, or reuses the one fitted before.

    Methods that use the same projector with the same hyperparameters share it.

    Args:
        run: The run.
        method: A method that splits classes.
        static: Its static hyperparameters; only those of the projector count.
        replicate: Whose teacher and rows it is fitted to.

    Raises:
        UserError: Rows lack labels that the projector needs, or a class cannot be split so finely.
    """
    run.session.interrupts.check()
    projector, dataset, bank = method.projector, run.dataset, replicate.bank
    assert projector is not None
    values = {name: static[name] for name in projector.search_space}
    seed = seeds.derive(replicate.seed, "projection")
    on_transfer = values.get("fit_on") == "transfer"
    inputs = {
        "projector": projector.name,
        "version": projector.version,
        "settings": values,
        "bank": bank.fingerprint,
        "seed": seed,
        "rows": artifacts.fingerprint(replicate.transfer.tolist()) if on_transfer else "train",
    }

    place = f"config.methods.{method.name}"

    def build(folder: Path) -> Mapping[str, Any]:
        index = replicate.transfer if on_transfer else dataset.train
        if projector.needs_fine_labels:
            index = index[dataset.labels[index] != UNLABELLED]
        try:
            rows = _select_rows(dataset, bank, index, str(values.get("membership", "")))
            fitted = projector.fit(rows, bank.output_weights, values, seed)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
        for name, array in fitted.arrays.items():
            if np.isnan(array).any():
                raise UserError(f"{place}: {name} holds NaN; check the teacher")
        base.save(folder / "projection.npz", Stored(fitted, projector.version, values))
        return {"subclasses": fitted.column_mask.shape[-1]}

    def load(folder: Path, facts: Mapping[str, Any]) -> Projection:
        del facts
        return base.load(folder / "projection.npz").projection

    return artifacts.run(run.root, STAGE, inputs, build, load)


def _select_rows(dataset: Dataset, bank: Bank, index: np.ndarray, membership: str) -> EmbeddedRows:
    """Selects the rows to fit, each with the class it is fitted in.

    Args:
        dataset: The data.
        bank: The teacher's outputs.
        index: Data-set indices of the rows.
        membership: "label" or "teacher": what says which class a row is fitted in; "" where the
            projector has no such choice, and labels do.

    Raises:
        UserError: No row belongs to one of the classes.
    """
    place = bank.position(index)
    label = dataset.labels[index]
    if membership == "teacher":
        label = bank.logits[place].argmax(axis=1).astype(np.int32)
    if membership:
        counts = np.bincount(label, minlength=dataset.num_classes)
        if (counts == 0).any():
            empty = int(np.argmin(counts))
            hint = (
                "check the teacher and the order of its classes, or take membership='label'"
                if membership == "teacher"
                else "fit on more rows"
            )
            raise UserError(
                f"no row to fit belongs to class {empty} ({dataset.class_names[empty]!r}; rows "
                f"per class by {membership}: {counts.tolist()}); {hint}"
            )
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    name = artifacts.fingerprint([bank.fingerprint, checksum(place), checksum(label)])
    return EmbeddedRows(Selection(bank.embeddings, place), index, label, fine, name)


def score_rows(
    projector: Projector,
    projection: Projection,
    dataset: Dataset,
    bank: Bank,
    index: np.ndarray,
) -> np.ndarray:
    """Computes the scores of rows of the data set, [rows, ..., classes, subclasses] float32."""
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    embedding = Selection(bank.embeddings, bank.position(index))
    rows = EmbeddedRows(embedding, index, dataset.labels[index], fine)
    return scoring.collect(projector, projection, rows)
