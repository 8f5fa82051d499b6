"""The bank: a teacher's logits and embedding of every training and validation row, on disk.

Rows are found by their index in the data set, never by order, so a shuffled or sampled student
cannot read another row's teacher. Test rows are not in the bank.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax import files, models, stages, teacher
from lelp_jax.config import TeacherConfig
from lelp_jax.data.dataset import Dataset
from lelp_jax.errors import UserError
from lelp_jax.session import Session
from lelp_jax.train.predict import predict
from lelp_jax.train.stage import Trained

STAGE = "banks"
_VERSION = 1
_CHUNK_ROWS = 16384


@dataclasses.dataclass(frozen=True)
class Bank:
    """One teacher's outputs, read when they are first asked for.

    Attributes:
        folder: Where the arrays lie.
        fingerprint: Names teacher and data.
    """

    folder: Path
    fingerprint: str

    @functools.cached_property
    def index(self) -> np.ndarray:
        """Data-set indices of the rows, sorted, [rows]."""
        return _read(self.folder / "index")

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """[rows, classes] float32."""
        return _read(self.folder / "logits")

    @functools.cached_property
    def embeddings(self) -> np.ndarray:
        """[rows, dims] float32."""
        return _read(self.folder / "embeddings")

    @functools.cached_property
    def output_weights(self) -> np.ndarray:
        """Weights of the teacher's output layer, [dims, classes] float32."""
        return _read(self.folder / "output_weights")

    def position(self, index: np.ndarray) -> np.ndarray:
        """Returns where the rows with these data-set indices lie.

        Raises:
            KeyError: A row is not in the bank.
        """
        place = np.minimum(np.searchsorted(self.index, index), len(self.index) - 1)
        if not np.array_equal(self.index[place], index):
            raise KeyError(f"rows that are not in the bank {self.folder}")
        return place


def ensure(
    root: Path, config: TeacherConfig, trained: Trained, dataset: Dataset, session: Session
) -> Bank:
    """Returns the bank of a teacher, computed now or before.

    Args:
        root: The workdir.
        config: How the teacher was trained.
        trained: The teacher.
        dataset: The data it was trained on.
        session: The run.

    Raises:
        UserError: The teacher gives a value that is not finite.
    """
    session.interrupts.check()
    inputs = {"version": _VERSION, "teacher": trained.fingerprint, "data": dataset.digest}

    def build(folder: Path) -> Mapping[str, Any]:
        index = np.sort(np.concatenate([dataset.train, dataset.validation]))
        logits, embeddings, params = outputs(config, trained, dataset, index)
        for name, values in (("logits", logits), ("embedding", embeddings)):
            finite = np.isfinite(values).all(axis=1)
            if not finite.all():
                row = index[int(np.argmin(finite))]
                raise UserError(
                    f"the teacher's {name} of data row {row} is not finite; "
                    "lower config.teacher.learning_rate"
                )
        weights, _ = models.output_layer(params)
        for name, values in (
            ("index", index.astype(np.int64)),
            ("logits", logits),
            ("embeddings", embeddings),
            ("output_weights", weights),
        ):
            _write(folder / name, values)
        return {"rows": len(index), "dims": embeddings.shape[1]}

    def load(folder: Path, facts: Mapping[str, Any]) -> Bank:
        del facts
        return Bank(folder, folder.name)

    return stages.run(root, STAGE, inputs, build, load)


def outputs(
    config: TeacherConfig, trained: Trained, dataset: Dataset, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Any]:
    """Runs a teacher on rows of the data set.

    Returns:
        Logits [rows, classes], embeddings [rows, dims] and its parameters.
    """
    spec = teacher.spec(config, dataset.num_classes)
    params = trained.load(spec, dataset.inputs)
    stacked = jax.tree.map(lambda leaf: leaf[None], params)
    logits, embeddings = predict(spec, stacked, {}, {}, dataset.inputs[index])
    return logits[0], embeddings[0], params


def _spec(path: Path) -> dict[str, Any]:
    return {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(path.absolute())}}


def _write(path: Path, values: np.ndarray) -> None:
    import tensorstore as ts

    chunk = [min(len(values), _CHUNK_ROWS), *values.shape[1:]]
    with files.storage(path, values.nbytes):
        store = ts.open(
            _spec(path),
            create=True,
            delete_existing=True,
            dtype=values.dtype,
            shape=values.shape,
            chunk_layout=ts.ChunkLayout(chunk_shape=chunk),
        ).result()
        store.write(values).result()


def _read(path: Path) -> np.ndarray:
    import tensorstore as ts

    try:
        return np.asarray(ts.open(_spec(path), open=True).result().read().result())
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"the bank {path.parent} is damaged ({reason}); delete that folder to compute it again"
        ) from error
