"""From a teacher's arrays to targets that a student of any framework can learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from lelp_jax import files, parallel
from lelp_jax.data import identity
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.errors import UserError, unknown_name
from lelp_jax.interrupts import Interrupts
from lelp_jax.methods import METHODS
from lelp_jax.methods.pseudo_subclass import targets
from lelp_jax.progress import Reporter
from lelp_jax.project_flags import Arguments
from lelp_jax.projection import PROJECTORS, base, scoring
from lelp_jax.projection.base import Projection, Projector, Rows, Stored
from lelp_jax.settings import Value
from lelp_jax.storage.bundle import Bundle, open_bundle
from lelp_jax.storage.writer import Spec, open_writer
from lelp_jax.teachers import imported, weights
from lelp_jax.teachers.imported import Imported


@dataclasses.dataclass(frozen=True)
class Table:
    """A teacher's arrays and what is known of their rows.

    Attributes:
        teacher: Embeddings, logits and, where given, output weights.
        rows: The rows; their label is -1 where it is not known.
        ids: Name of each row, [rows]: as given, or their number.
        labelled: Whether there are labels at all.
    """

    teacher: Imported
    rows: Rows
    ids: np.ndarray
    labelled: bool

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.teacher.logits.shape[1]


def run(arguments: Arguments, interrupts: Interrupts, reporter: Reporter) -> None:
    """Does what a command line asks for.

    Args:
        arguments: The command line.
        interrupts: Whether to stop.
        reporter: Shows progress.

    Raises:
        UserError: A file or value cannot be used.
        Interrupted: The run was asked to stop; nothing was written.
    """
    table = read(arguments.input)
    if arguments.apply is None:
        projector, stored, membership = _fit(arguments, table, reporter)
    else:
        projector, stored = load(arguments.apply, table)
        membership = np.full(len(table.rows), UNLABELLED, np.int32)
    method = METHODS[projector.name]
    for name in ("temperature", "beta"):
        value = getattr(arguments, name)
        if value is not None and not method.settings[name].allows(value):
            raise UserError(
                f"--{name} must be {method.settings[name].must} with {method.name}, got {value}"
            )
    chosen = {
        name: stored.settings[name] if value is None else value
        for name, value in (("temperature", arguments.temperature), ("beta", arguments.beta))
    }
    with reporter.stage("targets", len(table.rows), "rows"):

        def advance(rows: int) -> None:
            interrupts.check()
            reporter.advance(rows)

        write(
            arguments.out,
            table,
            projector,
            stored.projection,
            membership,
            temperature=float(chosen["temperature"]),
            beta=float(chosen["beta"]),
            advance=advance,
        )
    if arguments.save_projection is not None:
        save(Path(arguments.save_projection).expanduser(), stored)
    num_classes, count = stored.projection.column_mask.shape
    reporter.log(
        f"{arguments.out}: targets [{len(table.rows)}, {num_classes * count}] of {num_classes} "
        f"classes times {count} subclasses by {projector.name}"
    )


def _fit(
    arguments: Arguments, table: Table, reporter: Reporter
) -> tuple[Projector, Stored, np.ndarray]:
    name = arguments.method or "lelp"
    if name not in PROJECTORS:
        raise unknown_name("way to split --method", name, PROJECTORS)
    projector = PROJECTORS[name]
    known: dict[str, Value] = {
        key: setting.default[0] for key, setting in projector.settings.items()
    }
    # All rows of the input are fitted.
    known.pop("fit_on", None)
    for key in arguments.settings:
        if key not in known:
            raise UserError(
                f"--{key} is no setting of {name}, which takes {', '.join(sorted(known)) or 'none'}"
            )
    if "membership" in known:
        known["membership"] = "label" if (table.rows.label >= 0).all() else "teacher"
    values = {**known, **arguments.settings}
    seed = arguments.seed or 0
    with reporter.stage("projection", 1, "projections"):
        projection, membership = fit(table, projector, values, seed)
        reporter.advance(1)
    settings = {**values, "seed": seed}
    for key in ("temperature", "beta"):
        given, tried = getattr(arguments, key), METHODS[name].settings[key].default
        # The middle of what a comparison of methods tries.
        settings[key] = tried[len(tried) // 2] if given is None else given
    return projector, Stored(projection, projector.version, settings), membership


def read(location: str) -> Table:
    """Opens what `--input` names.

    Args:
        location: Holds `embeddings`, `logits` or `probabilities` and, optionally, `labels`,
            `fine_labels`, `output_weights` and `ids`.

    Raises:
        UserError: An array is missing or cannot be used.
    """
    bundle = open_bundle(location, "--input")
    teacher = imported.read(bundle)
    count, num_classes = teacher.logits.shape
    labels = _labels(bundle, "labels", count, num_classes)
    fine = _labels(bundle, "fine_labels", count, None)
    if "ids" in bundle:
        ids = _column(bundle, "ids", count)
        identity.read(ids, "ids", lambda row: bundle.place("ids", row))
    else:
        ids = np.arange(count)
    label = np.full(count, UNLABELLED, np.int32) if labels is None else labels
    rows = Rows(teacher.embeddings, np.arange(count), label, fine)
    return Table(teacher, rows, ids, labels is not None)


def _column(bundle: Bundle, name: str, count: int) -> np.ndarray:
    values = np.asarray(bundle.array(name)[:])
    if values.shape != (count,):
        raise UserError(
            f"{bundle.location}: {name} have shape {values.shape}, but there are {count} rows of "
            "embeddings; one per row is needed"
        )
    return values


def _labels(bundle: Bundle, name: str, count: int, bound: int | None) -> np.ndarray | None:
    if name not in bundle:
        return None
    values = _column(bundle, name, count)
    if values.dtype.kind not in "iufb":
        raise UserError(f"{bundle.location}: {name} are {values.dtype}; whole numbers are needed")
    known = np.where(np.isnan(values), UNLABELLED, values) if values.dtype.kind == "f" else values
    wrong = (known < UNLABELLED) | (known != np.round(known))
    if bound is not None:
        wrong |= known >= bound
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{bundle.place(name, row)}: {values[row]} is no class"
            + (f" of 0..{bound - 1}" if bound else "")
            + f"; write {UNLABELLED} where it is not known"
        )
    return known.astype(np.int32)


def fit(
    table: Table, projector: Projector, values: Mapping[str, Value], seed: int
) -> tuple[Projection, np.ndarray]:
    """Fits a projection.

    Args:
        table: The rows.
        projector: The way to split classes.
        values: Its settings.
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
        membership = _opinions(table)
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
    output_weights = table.teacher.output_weights
    if output_weights is None:
        output_weights = np.zeros((rows.embedding.shape[1], table.num_classes), np.float32)
        if values.get("null_space"):
            output_weights, _ = weights.estimate(
                rows.embedding,
                table.teacher.logits,
                table.teacher.from_probabilities,
                table.teacher.bundle.location,
            )
    fitted_rows = dataclasses.replace(rows, label=membership)
    projection = projector.fit(fitted_rows, output_weights, values, seed)
    for name, array in projection.arrays.items():
        if np.isnan(array).any():
            raise UserError(f"--method={projector.name}: {name} holds NaN; check the embeddings")
    return projection, membership


def _opinions(table: Table) -> np.ndarray:
    """Returns the teacher's class of every row, [rows] int32."""
    logits = table.teacher.logits
    result = np.empty(len(logits), np.int32)
    size = 1 << 16
    for start in range(0, len(logits), size):
        result[start : start + size] = logits[start : start + size].argmax(axis=1)
    return result


def save(path: Path, stored: Stored) -> None:
    """Writes a projection, in one process of several."""
    if not parallel.is_first_process():
        return
    if not path.parent.is_dir():
        raise UserError(f"--save_projection={path}: there is no folder {path.parent}; make it")
    temporary = path.with_name(f".{path.name}.tmp")
    with files.storage(path, sum(array.nbytes for array in stored.projection.arrays.values())):
        base.save(temporary, stored)
        temporary.replace(path)


def load(location: str, table: Table) -> tuple[Projector, Stored]:
    """Reads a projection that `save` wrote, for these rows.

    Args:
        location: The file.
        table: The rows that it shall be applied to.

    Raises:
        UserError: It is no such file, of another version, or for other embeddings.
    """
    place, path = f"--apply={location}", Path(location).expanduser()
    if not path.is_file():
        raise UserError(f"{place}: no such file")
    try:
        stored = base.load(path)
    except (OSError, ValueError, KeyError, EOFError, *base.BROKEN) as error:
        raise UserError(
            f"{place} is no projection ({' '.join(str(error).split())[:120]}); write one with "
            "--save_projection"
        ) from error
    projection = stored.projection
    if projection.kind not in PROJECTORS:
        raise UserError(f"{place} is of the unknown kind {projection.kind!r}")
    projector = PROJECTORS[projection.kind]
    if stored.version != projector.version:
        raise UserError(
            f"{place} was fitted by version {stored.version} of {projector.name}, this is version "
            f"{projector.version}; fit it again"
        )
    num_classes, dims = projection.column_mask.shape[0], table.rows.embedding.shape[1]
    if num_classes != table.num_classes:
        raise UserError(
            f"{place} is for {num_classes} classes, --input has {table.num_classes}; give the same "
            "teacher's arrays"
        )
    fitted = projection.arrays.get("mean")
    if fitted is not None and fitted.shape[1] != dims:
        raise UserError(
            f"{place} is for embeddings of {fitted.shape[1]} dims, --input has {dims}; give the "
            "same teacher's arrays"
        )
    if projector.needs_fine_labels and table.rows.fine_label is None:
        raise UserError(f"{place} needs fine_labels, which --input does not hold")
    return projector, stored


def write(
    location: str,
    table: Table,
    projector: Projector,
    projection: Projection,
    membership: np.ndarray,
    *,
    temperature: float,
    beta: float,
    advance: Any,
) -> None:
    """Writes `targets` [rows, classes * subclasses], `membership` [rows] and `ids` [rows].

    Args:
        location: File, folder or address; its ending says the format.
        table: The rows.
        projector: The way to split classes.
        projection: What it fitted.
        membership: Class that each row was fitted in, [rows].
        temperature: Softens the classes.
        beta: Softens the split.
        advance: Called with the number of rows done, again and again.

    Raises:
        UserError: The place cannot be written, or a row is not finite.
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
    if parallel.several_processes() and not location.rstrip("/").endswith(".zarr"):
        raise UserError(f"--out={location}: several processes write .zarr only; name such a folder")
    if not first:
        # The folder is made by the first process.
        parallel.wait_for_processes("writing begun")
    with open_writer(location, specs, "--out", main=first) as writer:
        if first:
            parallel.wait_for_processes("writing begun")
        share = parallel.share_of_process(count, writer.chunk_rows)
        for stretch, scores in scoring.batches(projector, projection, table.rows, share):
            numbers = (jnp.asarray(table.teacher.logits[stretch]), jnp.asarray(scores))
            softness = (jnp.float32(temperature), jnp.float32(beta))
            values = np.asarray(targets(*numbers, *softness))
            values = np.moveaxis(values, -1, 0).reshape(len(scores), -1)
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
