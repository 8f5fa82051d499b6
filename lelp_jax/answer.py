"""Lets a PyTorch model answer texts, and writes what configs/own_teacher.py takes as a teacher.

    python -m lelp_jax.answer --model=FOLDER --data=train.csv,test.csv --out=teacher.npz

The model is a classifier of `transformers` (a folder that save_pretrained wrote, or a name on the
hub), or a sentence encoder of `sentence-transformers` with --fit_head. Files end in .csv, .tsv,
.jsonl or .parquet. The output holds `embeddings` [rows, dims], which the last linear layer sees,
`logits` [rows, classes], `output_weights` [dims, classes], `output_bias`, `label_names`, `labels`,
`ids` and `text_hashes`; its ending says the format. Running the same command again resumes an
interrupted one. It needs PyTorch: pip install 'lelp_jax[transformers]'.
"""

# Kept short: flags, then the answers. PyTorch is imported after the data are read.
from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

from lelp_jax.answering import flags
from lelp_jax.cli import program
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter


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

    again = shlex.join(["python", "-m", "lelp_jax.answer", *argv[1:]])
    return program.run(argv, work, f"interrupted; finished parts are saved. Resume with: {again}")


def _run(arguments: flags.AnswerArguments, interrupts: Interrupts) -> None:
    import jax

    # JAX only keeps the answers; on a GPU it would take the memory that PyTorch needs.
    jax.config.update("jax_platforms", "cpu")
    from lelp_jax.answering import run

    run.run(arguments, interrupts, Reporter())


if __name__ == "__main__":
    sys.exit(main(sys.argv))
