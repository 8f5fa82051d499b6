"""The projection stage: fits what splits the classes, once per replicate and setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts as stages
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.projection import base, scoring
from lelp_jax.projection.base import Projection, Projector, Stored
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.storage.checked import checksum
from lelp_jax.storage.rows import Selection

STAGE = "projections"


def ensure(
    root: Path,
    method: str,
    projector: Projector,
    static: Mapping[str, Value],
    dataset: Dataset,
    bank: Bank,
    transfer: np.ndarray,
    seed: int,
    session: Session,
) -> Projection:
    """Returns a fitted projection, fitted now or before.

    Methods that use the same projector with the same hyperparameters share it.

    Args:
        root: The workdir.
        method: Name of the method that asks, for messages.
        projector: The way to score.
        static: The method's static hyperparameters; only those of the projector count.
        dataset: The data.
        bank: The teacher's outputs.
        transfer: Data-set indices of the rows that the student may see.
        seed: Seed of the projection.
        session: The run.

    Raises:
        UserError: Rows lack labels that the projector needs, or a class cannot be split so finely.
    """
    session.interrupts.check()
    values = {name: static[name] for name in projector.search_space}
    on_transfer = values.get("fit_on") == "transfer"
    inputs = {
        "projector": projector.name,
        "version": projector.version,
        "settings": values,
        "bank": bank.fingerprint,
        "seed": seed,
        "rows": stages.fingerprint(transfer.tolist()) if on_transfer else "train",
    }

    def build(folder: Path) -> Mapping[str, Any]:
        index = transfer if on_transfer else dataset.train
        rows = _fit_rows(method, projector, values, dataset, bank, index)
        try:
            fitted = projector.fit(rows, bank.output_weights, values, seed)
        except UserError as error:
            raise UserError(f"config.methods.{method}: {error}") from error
        for name, array in base.arrays_of(fitted).items():
            if np.isnan(array).any():
                raise UserError(f"config.methods.{method}: {name} holds NaN; check the teacher")
        stored = Stored(fitted, projector.name, projector.version, values)
        base.save(folder / "projection.npz", stored)
        return {"subclasses": fitted.column_mask.shape[-1]}

    def load(folder: Path, facts: Mapping[str, Any]) -> Projection:
        del facts
        return base.load(folder / "projection.npz", {projector.name: projector}).projection

    return stages.run(root, STAGE, inputs, build, load)


def _fit_rows(
    method: str,
    projector: Projector,
    values: Mapping[str, Value],
    dataset: Dataset,
    bank: Bank,
    index: np.ndarray,
) -> EmbeddedRows:
    if projector.needs_fine_labels:
        index = index[dataset.labels[index] != UNLABELLED]
    place = bank.position(index)
    label = dataset.labels[index]
    if values.get("membership") == "teacher":
        label = bank.logits[place].argmax(axis=1).astype(np.int32)
    if "membership" in values:
        counts = np.bincount(label, minlength=dataset.num_classes)
        if (counts == 0).any():
            empty = int(np.argmin(counts))
            mend = (
                "check the teacher and the order of its classes, or take membership='label'"
                if values["membership"] == "teacher"
                else "fit on more rows"
            )
            raise UserError(
                f"config.methods.{method}: no row to fit belongs to class {empty} "
                f"({dataset.class_names[empty]!r}; rows per class by {values['membership']}: "
                f"{counts.tolist()}); {mend}"
            )
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    name = stages.fingerprint([bank.fingerprint, checksum(place), checksum(label)])
    return EmbeddedRows(Selection(bank.embeddings, place), index, label, fine, name)


def scores(
    projection: Projection,
    dataset: Dataset,
    bank: Bank,
    index: np.ndarray,
) -> np.ndarray:
    """Returns the scores of rows of the data set, [rows, ..., classes, subclasses] float32."""
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    embedding = Selection(bank.embeddings, bank.position(index))
    rows = EmbeddedRows(embedding, index, dataset.labels[index], fine)
    return scoring.collect(projection, rows)
