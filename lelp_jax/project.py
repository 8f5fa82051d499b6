"""Splits a teacher's classes into pseudo-subclasses and writes the targets that a student learns.

    python -m lelp_jax.project --input=teacher.npz --out=targets.npz --num_subclasses=10
    python -m lelp_jax.project --input=new.npz --out=new_targets.npz --apply=projection.npz

The input holds the arrays `embeddings` [rows, dims] and `logits` or `probabilities` [rows, classes]
and, optionally, `labels` and `fine_labels` [rows], `output_weights` [dims, classes] and `ids`
[rows]: an .npz or .parquet file, a folder of .npy files, or a zarr folder or address (gs://...).
The output holds `targets` [rows, classes * subclasses] (column c * S + s is subclass s of class c;
`--method=lelp_ensemble` writes `num_rotations` such heads one after the other, each summing to 1),
`membership` [rows], the class that each row was fitted in or -1, and `ids` [rows]; its ending says
the format. Neither needs to fit into memory.
"""

# Kept short: flags, then the projection. JAX is imported after the flags are read.
from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags as absl_flags

from lelp_jax.core import memory, terminal
from lelp_jax.core.errors import Interrupted, UserError, format_error
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter, set_up_logging
from lelp_jax.deploy.targets import flags


def main(argv: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    Args:
        argv: The program's name and its arguments.

    Returns:
        0 when it is done, 2 after a user error or a full or read-only disk, 130 or 143
        when it was interrupted.
    """
    memory.keep_freed_memory()
    # Not from the parsed flags: errors in these are shown with a traceback, too.
    debug = "--debug" in argv
    set_up_logging(debug=debug)
    interrupts = Interrupts()
    try:
        with interrupts.listen():
            arguments = flags.parse(argv, __doc__)
            if arguments is None:
                return 0
            _run(arguments, interrupts)
            return 0
    except Interrupted as stop:
        terminal.write("interrupted; nothing was written", stderr=True)
        return 128 + stop.signal_number
    except (UserError, OSError, absl_flags.Error) as error:
        if debug:
            raise
        terminal.write(f"error: {format_error(error)}", stderr=True)
        return 2


def _run(arguments: flags.ProjectArguments, interrupts: Interrupts) -> None:
    from lelp_jax.core import parallel

    parallel.set_up()
    parallel.join_processes()
    from lelp_jax.deploy.targets import run

    run.run(arguments, interrupts, Reporter())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
