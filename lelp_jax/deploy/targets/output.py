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
from lelp_jax.deploy.targets.table import Table
from lelp_jax.methods import pseudo_subclass
from lelp_jax.projection import scoring
from lelp_jax.projection.base import Projection
from lelp_jax.storage import destinations, objects
from lelp_jax.storage.open import open_writer
from lelp_jax.storage.writer import Spec


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
        destinations.check_path(path, "--out", is_folder=path.suffix.lower() in ("", ".zarr"))
        if parallel.several_processes() and path.suffix.lower() != ".zarr":
            raise UserError(
                f"--out={location}: several processes write .zarr only; name such a folder"
            )
    if same:
        raise UserError(f"--out={location} is the input, which would be lost; give another place")


def write(
    location: str,
    table: Table,
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
        "targets": Spec((count, projection.column_mask.size), np.float32),
        "membership": Spec((count,), np.int32),
        "ids": Spec((count,), ids.dtype),
    }
    first = parallel.is_first_process()
    if not first:
        # The folder is made by the first process.
        parallel.wait_for_processes("writing begun")
    with open_writer(location, specs, "--out", main=first) as writer:
        if first:
            parallel.wait_for_processes("writing begun")
        share = parallel.share_of_process(count, writer.chunk_rows)
        for stretch, scores in scoring.batches(projection, table.rows, share):
            numbers = (jnp.asarray(table.teacher.logits[stretch]), jnp.asarray(scores))
            values = np.asarray(_targets(*numbers, *map(jnp.float32, softness)))
            if not np.isfinite(values).all():
                row = stretch.start + int(np.argmin(np.isfinite(values).all(axis=1)))
                raise UserError(f"the targets of row {row} are not finite; check its logits")
            writer.write(
                stretch.start,
                {"targets": values, "membership": membership[stretch], "ids": ids[stretch]},
            )
            advance(len(scores))
        if first:
            parallel.wait_for_processes("rows written")
    if not first:
        parallel.wait_for_processes("rows written")
    parallel.wait_for_processes("output written")


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
