"""Fits a projection to a teacher's arrays, or reads one that was fitted before."""

from __future__ import annotations

import dataclasses
import os.path
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lelp_jax.core import files, parallel
from lelp_jax.core.errors import UserError
from lelp_jax.core.search_space import Value
from lelp_jax.deploy.targets import table as tables
from lelp_jax.deploy.targets.table import TeacherTable
from lelp_jax.projection import PROJECTORS, base
from lelp_jax.projection.base import Projection, Projector, Stored
from lelp_jax.teachers import weights


def fit(
    table: TeacherTable, projector: Projector, values: Mapping[str, Value], seed: int
) -> tuple[Projection, np.ndarray]:
    """Fits a projection to a teacher's arrays.

    Args:
        table: The rows.
        projector: The way to split classes.
        values: Its hyperparameters.
        seed: Seed of its random choices.

    Returns:
        The projection, and the class that each row was fitted in, [rows] int32; -1 where in none.

    Raises:
        UserError: The rows cannot be split as asked for.
    """
    rows = table.rows
    if projector.needs_fine_labels and (rows.fine_label is None or not table.labelled):
        raise UserError(
            f"--method={projector.name} needs labels and fine_labels, and "
            f"{table.teacher.bundle.location} holds {', '.join(table.teacher.bundle.names())}"
        )
    membership = rows.label
    if values.get("membership") == "teacher":
        membership = tables.read_opinions(table.teacher)
    elif "membership" in values and not table.labelled:
        raise UserError(
            f"--membership=label needs labels, and {table.teacher.bundle.location} has none; add "
            "them, or take --membership=teacher"
        )
    if "membership" in values:
        counts = np.bincount(membership[membership >= 0], minlength=table.num_classes)
        if (counts == 0).any():
            raise UserError(
                f"class {int(np.argmin(counts))} has no row (rows per class by "
                f"{values['membership']}: {counts.tolist()}); every class needs some"
            )
    output_weights = np.zeros((rows.embedding.shape[1], table.num_classes), np.float32)
    if values.get("null_space"):
        weights.check(table.teacher)
        output_weights = weights.find(table.teacher)
    fitted_rows = dataclasses.replace(rows, label=membership)
    projection = projector.fit(fitted_rows, output_weights, values, seed)
    for name, array in base.arrays_of(projection).items():
        if np.isnan(array).any():
            raise UserError(f"--method={projector.name}: {name} holds NaN; check the embeddings")
    return projection, membership


def check_place(location: str | None) -> None:
    """Refuses a path where a projection cannot be written.

    Raises:
        UserError: The folder is missing, or a folder is in the way.
    """
    if location is None:
        return
    path = Path(os.path.expanduser(location))
    if path.is_dir():
        raise UserError(f"--save_projection={path} is a folder; name an .npz file")
    if not path.parent.is_dir():
        raise UserError(f"--save_projection={path}: the folder {path.parent} is missing; create it")


def save(path: Path, stored: Stored) -> None:
    """Writes a projection, in one process of several."""
    if not parallel.is_first_process():
        return
    temporary = path.with_name(f".{path.name}.tmp")
    arrays = base.arrays_of(stored.projection).values()
    with files.convert_storage_errors(path, sum(array.nbytes for array in arrays)):
        base.save(temporary, stored)
        temporary.replace(path)


def load(location: str, table: TeacherTable) -> tuple[Projector, Stored]:
    """Reads a projection that `save` wrote, for these rows.

    Args:
        location: The file.
        table: The rows that it shall be applied to.

    Raises:
        UserError: The file is not a projection, is of another version, or fits other embeddings.
    """
    place, path = f"--apply={location}", Path(os.path.expanduser(location))
    if not path.is_file():
        raise UserError(f"{place}: no such file")
    try:
        stored = base.load(path, PROJECTORS)
    except (OSError, ValueError, EOFError, *base.BROKEN) as error:
        raise UserError(
            f"{place} cannot be applied ({' '.join(str(error).split())[:120]}); write a projection "
            "with --save_projection"
        ) from error
    projection, projector = stored.projection, PROJECTORS[stored.projector]
    num_classes, dims = projection.column_mask.shape[-2], table.rows.embedding.shape[1]
    if num_classes != table.num_classes:
        raise UserError(
            f"{place} is for {num_classes} classes, --input has {table.num_classes}; give the same "
            "teacher's arrays"
        )
    fitted = getattr(projection, "mean", None)
    if fitted is not None and fitted.shape[1] != dims:
        raise UserError(
            f"{place} is for embeddings of {fitted.shape[1]} dims, --input has {dims}; give the "
            "same teacher's arrays"
        )
    if projector.needs_fine_labels and table.rows.fine_label is None:
        raise UserError(f"{place} needs fine_labels, which --input does not hold")
    return projector, stored
