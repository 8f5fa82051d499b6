"""Splits a teacher's classes into pseudo-subclasses and writes the targets that a student learns.

    python -m lelp_jax.project --input=teacher.npz --out=targets.npz --num_subclasses=10
    python -m lelp_jax.project --input=new.npz --out=new_targets.npz --apply=projection.npz

The input holds the arrays `embeddings` [rows, dims] and `logits` or `probabilities` [rows, classes]
and, optionally, `labels` and `fine_labels` [rows], `output_weights` [dims, classes] and `ids`
[rows]: an .npz or .parquet file, a folder of .npy files, or a zarr folder or address (gs://...).
Labels are whole numbers or names. The position of a name in the array `label_names` [classes] (or
`fine_label_names`) is its class; without that array names are sorted, and the log says so.
The output holds `targets` [rows, classes * subclasses] (column c * S + s is subclass s of class c;
`--method=lelp_ensemble` writes `num_rotations` such heads one after the other, each summing to 1),
`membership` [rows], the class that each row was fitted in or -1, and `ids` [rows]; its ending says
the format. Neither needs to fit into memory.
"""

# Kept short: flags, then the projection. JAX is imported after the flags are read.
from __future__ import annotations

import sys
from collections.abc import Sequence

from lelp_jax.cli import program
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.deploy.targets import flags


def main(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: The program's name and its arguments.

    Returns:
        0 if it finished, 2 after a user error or an error of the operating system such as a full
        disk, and 128 plus the signal number (130 or 143) if it was interrupted.
    """

    def work(interrupts: Interrupts) -> None:
        arguments = flags.parse(argv, __doc__)
        if arguments is not None:
            _run(arguments, interrupts)

    return program.run(argv, work, "interrupted; nothing was written")


def _run(arguments: flags.ProjectArguments, interrupts: Interrupts) -> None:
    from lelp_jax.core import parallel

    parallel.set_up()
    parallel.join_processes()
    from lelp_jax.deploy.targets import run

    run.run(arguments, interrupts, Reporter())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
