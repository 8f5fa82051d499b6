"""The story of `lelp_jax.project`: read, fit or load, write."""

from __future__ import annotations

import os.path
from pathlib import Path

import numpy as np

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.search_space import Value
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.deploy.targets import fitting, output
from lelp_jax.deploy.targets import table as tables
from lelp_jax.deploy.targets.flags import ProjectArguments
from lelp_jax.deploy.targets.table import TeacherTable
from lelp_jax.methods import METHODS
from lelp_jax.projection import PROJECTORS
from lelp_jax.projection.base import Projector, Stored


def run(arguments: ProjectArguments, interrupts: Interrupts, reporter: Reporter) -> None:
    """Fits or loads a projection and writes the targets of all rows.

    Args:
        arguments: The command line.
        interrupts: Whether to stop.
        reporter: Shows progress.

    Raises:
        UserError: A file or value cannot be used.
        Interrupted: The run was asked to stop; nothing was written.
    """
    table = tables.read(arguments.input)
    # Before the work: a fit may take long.
    output.check(arguments.out, arguments.input)
    fitting.check_place(arguments.save_projection)
    if arguments.apply is None:
        projector, stored, membership = _fit(arguments, table, reporter)
    else:
        projector, stored = fitting.load(arguments.apply, table)
        membership = np.full(len(table.rows), UNLABELLED, np.int32)
        _check_softness(arguments, projector.name)
    chosen = {
        name: stored.hyperparameters[name] if value is None else value
        for name, value in (("temperature", arguments.temperature), ("beta", arguments.beta))
    }
    with reporter.show_stage("targets", len(table.rows), "rows"):

        def advance(rows: int) -> None:
            interrupts.check()
            reporter.advance(rows)

        output.write(
            arguments.out,
            table,
            stored.projection,
            membership,
            output.Softness(float(chosen["temperature"]), float(chosen["beta"])),
            advance,
        )
    if arguments.save_projection is not None:
        fitting.save(Path(os.path.expanduser(arguments.save_projection)), stored)
    mask = stored.projection.column_mask
    *heads, num_classes, count = mask.shape
    reporter.log(
        f"{arguments.out}: targets [{len(table.rows)}, {mask.size}] of "
        + "".join(f"{number} heads times " for number in heads)
        + f"{num_classes} classes times {count} subclasses by {projector.name}"
    )


def _check_softness(arguments: ProjectArguments, method: str) -> None:
    for name in ("temperature", "beta"):
        value, setting = getattr(arguments, name), METHODS[method].search_space[name]
        if value is not None:
            setting.check(value, f"--{name} with --method={method}")


def _fit(
    arguments: ProjectArguments, table: TeacherTable, reporter: Reporter
) -> tuple[Projector, Stored, np.ndarray]:
    name = arguments.method or "lelp"
    if name not in PROJECTORS:
        raise make_unknown_name_error("way to split --method", name, PROJECTORS)
    projector = PROJECTORS[name]
    _check_softness(arguments, name)
    known: dict[str, Value] = {
        key: setting.default[0] for key, setting in projector.search_space.items()
    }
    # All rows of the input are fitted.
    known.pop("fit_on", None)
    for key in arguments.hyperparameters:
        if key not in known:
            raise UserError(
                f"--{key} is not a hyperparameter of {name}, which takes "
                f"{', '.join(sorted(known)) or 'none'}"
            )
    if "membership" in known:
        known["membership"] = "label" if (table.rows.label >= 0).all() else "teacher"
    values = {**known, **arguments.hyperparameters}
    seed = arguments.seed or 0
    with reporter.show_stage("projection", 1, "projections"):
        projection, membership = fitting.fit(table, projector, values, seed)
        reporter.advance(1)
    chosen = {**values, "seed": seed}
    for key in ("temperature", "beta"):
        given, tried = getattr(arguments, key), METHODS[name].search_space[key].default
        # The middle of what a comparison of methods tries.
        chosen[key] = tried[len(tried) // 2] if given is None else given
    return projector, Stored(projection, name, projector.version, chosen), membership
