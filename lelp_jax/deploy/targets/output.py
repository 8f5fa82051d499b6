"""Writes the targets of all rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.deploy.targets.table import TeacherTable
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import scoring
from lelp_jax.projection.base import Projection
from lelp_jax.storage import objects
from lelp_jax.storage.write import ArraySpec, check_destination, open_writer


class Softness(NamedTuple):
    """How soft the targets are.

    Attributes:
        temperature: Softens the classes.
        beta: Softens the split.
    """

    temperature: float
    beta: float


def check(location: str, source: str) -> None:
    """Refuses a location where the targets cannot be written.

    Args:
        location: Where the targets are written.
        source: What they are made from, which must not be lost.

    Raises:
        UserError: The ending is unknown, the folder is missing, or something is there that would
            be lost.
    """
    if objects.is_url(location):
        same = location.rstrip("/") == source.rstrip("/")
    else:
        path = objects.local_path(location)
        same = not objects.is_url(source) and path.resolve() == objects.local_path(source).resolve()
        if parallel.has_several_processes() and path.suffix.lower() != ".zarr":
            raise UserError(
                f"--out={location}: several processes write .zarr only; name such a folder"
            )
    if same:
        raise UserError(f"--out={location} is the input, which would be lost; give another place")
    check_destination(location, "--out")


def write(
    location: str,
    table: TeacherTable,
    projection: Projection,
    membership: np.ndarray,
    softness: Softness,
    advance: Callable[[int], None],
) -> None:
    """Writes `targets` [rows, columns], `membership` [rows] and `ids` [rows].

    Columns are class-major, classes * subclasses of them; a projection that splits the classes
    several times has as many heads of them, one after the other, and each sums to 1.

    Args:
        location: File, folder or address; its ending says the format.
        table: The rows.
        projection: Splits the classes.
        membership: Class that each row was fitted in, [rows].
        softness: Of the targets.
        advance: Called with the number of rows done, again and again.

    Raises:
        UserError: The location cannot be written, or a row is not finite.
    """
    count = len(table.rows)
    ids = table.ids
    if ids.dtype.kind == "O":
        ids = ids.astype(np.str_)
    specs = {
        "targets": ArraySpec((count, projection.column_mask.size), np.float32),
        "membership": ArraySpec((count,), np.int32),
        "ids": ArraySpec((count,), ids.dtype),
    }
    first = parallel.is_first_process()
    if not first:
        # The folder is made by the first process.
        parallel.wait_for_processes("writing begun")
    with open_writer(location, specs, "--out", main=first) as writer:
        if first:
            parallel.wait_for_processes("writing begun")
        share = parallel.pick_own_share(count, writer.chunk_rows)
        for start in range(share.start, share.stop, writer.chunk_rows):
            chunk = slice(start, min(start + writer.chunk_rows, share.stop))
            targets = _compute_targets(table, projection, chunk, softness)
            writer.write(
                start, {"targets": targets, "membership": membership[chunk], "ids": ids[chunk]}
            )
            advance(len(targets))
        if first:
            parallel.wait_for_processes("rows written")
    if not first:
        parallel.wait_for_processes("rows written")
    parallel.wait_for_processes("output written")


def _compute_targets(
    table: TeacherTable, projection: Projection, rows: slice, softness: Softness
) -> np.ndarray:
    """Computes target probabilities of some rows, [rows, columns]."""
    parts = []
    for stretch, scores in scoring.batches(projection, table.rows, rows):
        logits = jnp.asarray(table.teacher.logits[stretch])
        parts.append(np.asarray(_targets(logits, jnp.asarray(scores), *map(jnp.float32, softness))))
        finite = np.isfinite(parts[-1]).all(axis=1)
        if not finite.all():
            row = stretch.start + int(np.argmin(finite))
            raise UserError(_describe_overflow(row, scores[int(np.argmin(finite))], softness))
    return np.concatenate(parts)


def _describe_overflow(row: int, scores: np.ndarray, softness: Softness) -> str:
    """Says why a row's targets are not finite, though its logits and scores are.

    Quotients so large that float32 does not resolve 1 have no softmax.
    """
    largest = np.abs(scores[np.isfinite(scores)]).max()
    if largest * np.finfo(np.float32).eps > softness.beta:
        return (
            f"--beta={softness.beta:g} is too small: the scores of row {row}, up to {largest:.3g}, "
            "divided by it are beyond the accuracy of float32; take a larger one"
        )
    return (
        f"--temperature={softness.temperature:g} is too small: the logits of row {row} divided by "
        "it are beyond the accuracy of float32; take a larger one"
    )


@jax.jit
def _targets(
    logits: jax.Array, scores: jax.Array, temperature: jax.Array, beta: jax.Array
) -> jax.Array:
    """Computes target probabilities, [rows, columns]."""
    # Without labels: the student adds the term of its own label.
    label = jnp.full(len(logits), UNLABELLED)
    hyperparameters = {"temperature": temperature, "beta": beta, "hard_mixing": jnp.float32(0)}
    found = pseudo_subclass.log_targets(logits, scores, label, hyperparameters)
    return jnp.exp(jnp.moveaxis(found, -1, 0).reshape(len(logits), -1))
