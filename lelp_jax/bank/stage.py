"""The bank stage: computes a teacher's outputs for all training and validation rows, once.

Test rows are left out, so that no student, projection or selection can depend on them.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from lelp_jax.bank import store
from lelp_jax.bank.store import Bank
from lelp_jax.bank.views import Views
from lelp_jax.core import artifacts
from lelp_jax.core.constraints import NON_NEGATIVE, OneOf
from lelp_jax.core.errors import Damaged, UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.storage import objects
from lelp_jax.teachers.base import Teacher

STAGE = "banks"
_VERSION = 2


@dataclasses.dataclass(frozen=True)
class BankConfig:
    """Where and how banks are stored.

    Attributes:
        dtype: In which embeddings are kept: "float32", or "bfloat16" in half the space.
        root: Folder or address (gs://bucket/folder) of the banks; "" keeps them in the workdir.
        views: Number of augmented views of each training image whose outputs are stored besides
            those of the image. All students, also those of methods without a teacher, see these
            views in place of images that are changed anew in every step; 0 stores none.
    """

    dtype: Annotated[str, OneOf(store.DTYPES)] = "float32"
    root: str = ""
    views: Annotated[int, NON_NEGATIVE] = 0

    def __post_init__(self) -> None:
        if self.root:
            objects.folder_spec(self.root)  # raises for addresses of unknown kind


@dataclasses.dataclass(frozen=True)
class ViewedImages:
    """The images of a data set and their views.

    Attributes:
        images: [rows, height, width, channels] uint8, as the teacher sees them.
        views: Which views there are.
    """

    images: np.ndarray
    views: Views


def ensure(
    root: Path,
    config: BankConfig,
    teacher: Teacher,
    dataset: Dataset,
    session: Session,
    viewed: ViewedImages | None = None,
) -> Bank:
    """Computes the bank of a teacher, or reuses the one of an earlier launch.

    Args:
        root: The workdir.
        config: Where and how to store it.
        teacher: The teacher.
        dataset: The data.
        session: The run.
        viewed: Images of whose views the outputs are stored as well; their numbers follow the
            indices of the rows.

    Raises:
        UserError: An output of the teacher is not finite, or a new bank cannot be read back.
        Interrupted: The run was asked to stop; the chunks that are finished are kept.
    """
    session.interrupts.check()
    of = {"teacher": teacher.fingerprint, "data": dataset.digest}
    index = np.sort(np.concatenate([dataset.train, dataset.validation]))
    answers, made = teacher.answers, {}
    if viewed is not None:
        index = np.concatenate([index, viewed.views.list_numbers(dataset.train)])
        answers = functools.partial(_answer_views, teacher, viewed)
        made = {"views": dataclasses.asdict(viewed.views)}

    def location(folder: Path) -> str:
        return objects.join(config.root, folder.name) if config.root else str(folder)

    def build(folder: Path) -> Mapping[str, Any]:
        contents = store.Contents(
            of=of,
            index=index,
            answers=lambda rows: _check_finite(answers, rows, teacher.hint),
            output_weights=teacher.output_weights,
            shape=(teacher.outputs, teacher.dims),
            dtype=config.dtype,
        )
        store.write(location(folder), contents, session.interrupts.check)
        return {"rows": len(index), "dims": teacher.dims}

    def load(folder: Path, facts: Mapping[str, Any]) -> Bank:
        del facts
        if config.root and not store.exists(location(folder)):
            # Deleted, or the root was changed since: the marker in the workdir covers neither.
            build(folder)
        try:
            return store.read(location(folder), folder.name, of, index)
        except Damaged as damage:
            # The caller deletes the folder in the workdir; the bank itself may be elsewhere.
            objects.delete_tree(damage.location)
            raise

    key = {"version": _VERSION, **of, "dtype": config.dtype, **made}
    # The arrays are left out of the marker: hashing them at every launch would read the whole bank.
    # Each of their chunks has a checksum in the manifest, which is compared when it is read.
    return artifacts.run(root, STAGE, key, build, load, unlisted=store.ARRAYS)


def _answer_views(
    teacher: Teacher, viewed: ViewedImages, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Computes a teacher's outputs for views given by their numbers."""
    # The checks before the run refused views for teachers of which only outputs are known.
    assert teacher.network is not None
    images = viewed.images[viewed.views.find_index(numbers)]
    return teacher.network.answers(viewed.views.render(images, numbers))


def _check_finite(
    answers: store.Answers, index: np.ndarray, hint: str
) -> tuple[np.ndarray, np.ndarray]:
    """Computes a teacher's outputs for rows and checks that they are finite.

    Raises:
        UserError: A value is not finite; the message names the row.
    """
    logits, embeddings = answers(index)
    for name, values in (("logits", logits), ("embedding", embeddings)):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            row = index[int(np.argmin(finite))]
            raise UserError(f"the teacher's {name} of data row {row} is not finite; {hint}")
    return logits, embeddings
