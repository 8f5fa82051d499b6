"""The projection stage: fits what splits the classes, once per replicate and setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax import stages
from lelp_jax.bank.store import Bank
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.errors import UserError
from lelp_jax.projection import base, scoring
from lelp_jax.projection.base import Projection, Projector, Rows, Stored
from lelp_jax.session import Session
from lelp_jax.settings import Value
from lelp_jax.storage.checked import checksum
from lelp_jax.storage.rows import Selection

STAGE = "projections"


def ensure(
    root: Path,
    projector: Projector,
    static: Mapping[str, Value],
    dataset: Dataset,
    bank: Bank,
    transfer: np.ndarray,
    seed: int,
    session: Session,
) -> Projection:
    """Returns a fitted projection, fitted now or before.

    Args:
        root: The workdir.
        projector: The way to score.
        static: The method's static settings.
        dataset: The data.
        bank: The teacher's outputs.
        transfer: Data-set indices of the rows that the student may see.
        seed: Seed of the projection.
        session: The run.

    Raises:
        UserError: Rows lack labels that the projector needs, or a class cannot be split so finely.
    """
    session.interrupts.check()
    on_transfer = static.get("fit_on") == "transfer"
    inputs = {
        "projector": projector.name,
        "version": projector.version,
        "settings": dict(static),
        "bank": bank.fingerprint,
        "seed": seed,
        "rows": stages.fingerprint(transfer.tolist()) if on_transfer else "train",
    }

    def build(folder: Path) -> Mapping[str, Any]:
        rows = _fit_rows(
            projector, static, dataset, bank, transfer if on_transfer else dataset.train
        )
        try:
            fitted = projector.fit(rows, bank.output_weights, static, seed)
        except UserError as error:
            raise UserError(f"config.methods.{projector.name}: {error}") from error
        for name, values in fitted.arrays.items():
            if np.isnan(values).any():
                raise UserError(f"projection {projector.name}: {name} holds NaN; check the teacher")
        base.save(folder / "projection.npz", Stored(fitted, projector.version, static))
        return {"subclasses": fitted.column_mask.shape[1]}

    def load(folder: Path, facts: Mapping[str, Any]) -> Projection:
        del facts
        return base.load(folder / "projection.npz").projection

    return stages.run(root, STAGE, inputs, build, load)


def _fit_rows(
    projector: Projector,
    static: Mapping[str, Value],
    dataset: Dataset,
    bank: Bank,
    index: np.ndarray,
) -> Rows:
    if projector.needs_fine_labels:
        index = index[dataset.labels[index] != UNLABELLED]
    place = bank.position(index)
    label = dataset.labels[index]
    if static.get("membership") == "teacher":
        label = bank.logits[place].argmax(axis=1).astype(np.int32)
    if "membership" in static:
        counts = np.bincount(label, minlength=dataset.num_classes)
        if (counts == 0).any():
            empty = int(np.argmin(counts))
            mend = (
                "check the teacher and the order of its classes, or take membership='label'"
                if static["membership"] == "teacher"
                else "fit on more rows"
            )
            raise UserError(
                f"config.methods.{projector.name}: no row to fit belongs to class {empty} "
                f"({dataset.class_names[empty]!r}; rows per class by {static['membership']}: "
                f"{counts.tolist()}); {mend}"
            )
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    name = stages.fingerprint([bank.fingerprint, checksum(place), checksum(label)])
    return Rows(Selection(bank.embeddings, place), index, label, fine, name)


def scores(
    projector: Projector,
    projection: Projection,
    dataset: Dataset,
    bank: Bank,
    index: np.ndarray,
) -> np.ndarray:
    """Returns the scores of rows of the data set, [rows, classes, subclasses] float32."""
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    embedding = Selection(bank.embeddings, bank.position(index))
    rows = Rows(embedding, index, dataset.labels[index], fine)
    return scoring.collect(projector, projection, rows)
