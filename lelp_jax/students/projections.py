"""The projection stage: fits projections, once per replicate and combination of hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts, seeds
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.run import Run
from lelp_jax.methods.base import Method
from lelp_jax.projection import base, scoring
from lelp_jax.projection.base import Projection, Stored
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.storage.checked import checksum
from lelp_jax.storage.rows import Selection
from lelp_jax.students.replicates import Replicate

STAGE = "projections"


def ensure(
    run: Run, method: Method, static: Mapping[str, Value], replicate: Replicate
) -> Projection:
    """Fits the projection of a method for a replicate, or reuses the one of an earlier launch.

    Methods that use the same projector with the same hyperparameters share the projection.

    Args:
        run: The run.
        method: A method that splits classes.
        static: The method's static hyperparameters; only those of the projector are used.
        replicate: The replicate with the teacher and the rows to fit to.

    Raises:
        UserError: Rows lack labels that the projector needs, or a class has too few rows or
            directions for the number of subclasses.
    """
    run.session.interrupts.check()
    projector, dataset, bank = method.projector, replicate.dataset, replicate.bank
    assert projector is not None
    values = {name: static[name] for name in projector.search_space}
    seed = seeds.derive(replicate.seed, "projection")
    on_transfer = values.get("fit_on") == "transfer"
    # The projector is named instead of the method, so that methods share projections.
    inputs = {
        "projector": projector.name,
        "version": projector.version,
        "settings": values,
        "bank": bank.fingerprint,
        "seed": seed,
        "rows": artifacts.fingerprint(replicate.transfer.tolist()) if on_transfer else "train",
    }

    path = f"config.methods.{method.name}"

    def build(folder: Path) -> Mapping[str, Any]:
        index = replicate.transfer if on_transfer else dataset.train
        if projector.needs_fine_labels:
            index = dataset.select_labelled(index)
        try:
            rows = _select_rows(dataset, bank, index, str(values.get("membership", "")))
            fitted = projector.fit(rows, bank.output_weights, values, seed)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        # NaN here means that the teacher is broken; training on it would only report divergence.
        for name, array in base.arrays_of(fitted).items():
            if np.isnan(array).any():
                raise UserError(
                    f"{path}: {name} of the fitted projection holds NaN; check the teacher's "
                    "embedding for extreme values"
                )
        stored = Stored(fitted, projector.name, projector.version, values)
        base.save(folder / "projection.npz", stored)
        return {"subclasses": fitted.column_mask.shape[-1]}

    def load(folder: Path, facts: Mapping[str, Any]) -> Projection:
        del facts
        return base.load(folder / "projection.npz", {projector.name: projector}).projection

    return artifacts.run(run.root, STAGE, inputs, build, load)


def _select_rows(dataset: Dataset, bank: Bank, index: np.ndarray, membership: str) -> EmbeddedRows:
    """Selects the rows to fit, each with the class whose split it takes part in.

    Args:
        dataset: The data.
        bank: The teacher's outputs.
        index: Data-set indices of the rows.
        membership: "label" takes a row's class from its label, "teacher" from the teacher's
            prediction; "" for projectors without this choice, which use labels.

    Raises:
        UserError: A class has no rows.
    """
    position = bank.find_positions(index)
    label = dataset.labels[index]
    if membership == "teacher":
        label = bank.logits[position].argmax(axis=1).astype(np.int32)
    if membership:
        counts = np.bincount(label, minlength=dataset.num_classes)
        if (counts == 0).any():
            empty = int(np.argmin(counts))
            hint = (
                "check the teacher and the order of its classes, or set membership to 'label'"
                if membership == "teacher"
                else "fit on more rows"
            )
            raise UserError(
                f"class {empty} ({dataset.class_names[empty]!r}) has no rows to fit (rows per "
                f"class by {membership}: {counts.tolist()}); {hint}"
            )
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    # The name identifies the rows, so that statistics computed over them are reused.
    name = artifacts.fingerprint([bank.fingerprint, checksum(position), checksum(label)])
    return EmbeddedRows(Selection(bank.embeddings, position), index, label, fine, name)


def score_rows(projection: Projection, replicate: Replicate, shown: np.ndarray) -> np.ndarray:
    """Computes the subclass scores of rows, [rows, ..., classes, subclasses] float32.

    Args:
        projection: The projection.
        replicate: The replicate, with the teacher's outputs.
        shown: Data-set indices of the rows, or numbers of views, [rows].
    """
    index, bank, dataset = replicate.find_index(shown), replicate.bank, replicate.dataset
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    embedding = Selection(bank.embeddings, bank.find_positions(shown))
    rows = EmbeddedRows(embedding, index, dataset.labels[index], fine)
    return scoring.collect(projection, rows)
