"""The bank stage: asks a teacher for its answers to every training and validation row, once.

Test rows are not in the bank.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from lelp_jax.bank import store
from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts
from lelp_jax.core.constraints import OneOf
from lelp_jax.core.errors import Damaged, UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.storage import objects
from lelp_jax.teachers.base import Teacher

STAGE = "banks"
_VERSION = 2


@dataclasses.dataclass(frozen=True)
class BankConfig:
    """Where and how banks are kept.

    Attributes:
        dtype: In which embeddings are kept: "float32", or "bfloat16" in half the space.
        root: Folder or address (gs://bucket/folder) of the banks; "" keeps them in the workdir.
    """

    dtype: Annotated[str, OneOf(store.DTYPES)] = "float32"
    root: str = ""

    def __post_init__(self) -> None:
        if self.root:
            objects.folder_spec(self.root)  # refuses addresses of no known kind


def ensure(
    root: Path, config: BankConfig, teacher: Teacher, dataset: Dataset, session: Session
) -> Bank:
    """Returns the bank of a teacher, computed now or before.

    Args:
        root: The workdir.
        config: Where and how it is kept.
        teacher: The teacher.
        dataset: The data.
        session: The run.

    Raises:
        UserError: The teacher gives a value that is not finite, or the bank is damaged or of
            another teacher.
        Interrupted: The run was asked to stop; what was computed is kept.
    """
    session.interrupts.check()
    of = {"teacher": teacher.fingerprint, "data": dataset.digest}
    index = np.sort(np.concatenate([dataset.train, dataset.validation]))

    def location(folder: Path) -> str:
        return objects.join(config.root, folder.name) if config.root else str(folder)

    def build(folder: Path) -> Mapping[str, Any]:
        contents = store.Contents(
            of=of,
            index=index,
            answers=lambda rows: _check_finite(teacher, rows),
            output_weights=teacher.output_weights,
            shape=(teacher.outputs, teacher.dims),
            dtype=config.dtype,
        )
        store.write(location(folder), contents, session.interrupts.check)
        return {"rows": len(index), "dims": teacher.dims}

    def load(folder: Path, facts: Mapping[str, Any]) -> Bank:
        del facts
        if config.root and not store.exists(location(folder)):
            # Deleted there, or kept elsewhere so far: the marker in the workdir does not know.
            build(folder)
        try:
            return store.read(location(folder), folder.name, of, index)
        except Damaged as damage:
            objects.delete_tree(damage.location)
            raise

    key = {"version": _VERSION, **of, "dtype": config.dtype}
    # The chunks are checked while they are read: they need not fit into memory.
    return artifacts.run(root, STAGE, key, build, load, unlisted=store.ARRAYS)


def _check_finite(teacher: Teacher, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Asks a teacher; refuses answers that are not finite."""
    logits, embeddings = teacher.answers(index)
    for name, values in (("logits", logits), ("embedding", embeddings)):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            row = index[int(np.argmin(finite))]
            raise UserError(f"the teacher's {name} of data row {row} is not finite; {teacher.mend}")
    return logits, embeddings
