"""Writes a bank in a process of its own, perhaps one of several: run by tests of banks.

python -m tests.helpers.bank_process LOCATION DTYPE
"""

import sys

import numpy as np

from lelp_jax.core import parallel

parallel.set_up()
parallel.join_processes()

import jax  # noqa: E402

from lelp_jax.bank import store  # noqa: E402
from lelp_jax.storage.rows import Selection  # noqa: E402
from lelp_jax.teachers import weights  # noqa: E402

store._MOST_CHUNK_ROWS = 64
# The last chunk is not full, and the chunks cannot be shared evenly.
INDEX = np.flatnonzero(np.arange(700) % 10 != 3)
DIMS, CLASSES = 5, 2

random = np.random.default_rng(0)
embeddings = random.normal(size=(700, DIMS)).astype(np.float32)
logits = embeddings @ random.normal(size=(DIMS, CLASSES)).astype(np.float32)
asked: list[int] = []


def answers(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    asked.extend(rows.tolist())
    return logits[rows], embeddings[rows]


def output_weights() -> np.ndarray:
    """Estimated, which the processes do together."""
    of_rows = Selection(embeddings, INDEX), Selection(logits, INDEX)
    return weights.estimate(*of_rows, False, "here")[0].round(3)


store.write(
    sys.argv[1],
    store.Contents(
        of={"teacher": "t", "data": "d"},
        index=INDEX,
        answers=answers,
        output_weights=output_weights,
        shape=(CLASSES, DIMS),
        dtype=sys.argv[2],
    ),
    check=lambda: None,
)
print(f'{{"processes": {jax.process_count()}, "asked": {len(asked)}}}')
sys.stdout.flush()
parallel.wait_for_processes("end")
