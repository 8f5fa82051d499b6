"""A teacher from elsewhere: files as any framework could have written them, and runs with them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorstore
from pyarrow import parquet

from lelp_jax.main import main
from tests.helpers import tiny

ROWS, TEST, DIMS = 120, 40, 8
random = np.random.default_rng(0)
EMBEDDINGS = random.normal(size=(ROWS + TEST, DIMS)).astype(np.float32)
WEIGHTS = random.normal(size=(DIMS, 2)).astype(np.float32)
LOGITS = (EMBEDDINGS @ WEIGHTS + 0.1).astype(np.float32)
LABELS = LOGITS.argmax(axis=1)
INPUTS = (EMBEDDINGS @ random.normal(size=(DIMS, 6)) + 3).astype(np.float32)
NAMES = np.array([f"row-{number * 7919 % 1009}" for number in range(ROWS + TEST)])
TEACHER = {"embeddings": EMBEDDINGS, "logits": LOGITS, "output_weights": WEIGHTS}
SMALL = (
    "--config.replicates=1",
    "--config.student.model.hidden=(6,)",
    "--config.student.train.steps=20",
    "--config.student.train.batch_size=16",
    "--config.methods.kd.trials=1",
    "--config.methods.lelp.trials=1",
    "--config.methods.lelp.num_subclasses=2",
    *(f"--config.methods.{name}.trials=0" for name in ("labels", "soft_kmeans", "random_split")),
)


def write_data(**changed: Any) -> None:
    """Writes train.npz and test.npz into the current folder."""
    arrays = {"inputs": INPUTS, "labels": LABELS, "ids": NAMES, **changed}
    arrays = {name: values for name, values in arrays.items() if values is not None}
    np.savez("train.npz", **{name: values[:ROWS] for name, values in arrays.items()})
    np.savez("test.npz", **{name: values[ROWS:] for name, values in arrays.items()})


def run(*overrides: str, workdir: str = "run", config: str = "own_teacher") -> int:
    arguments = [f"--config={tiny.ROOT}/configs/{config}.py:quick", *SMALL]
    if not any(override.startswith("--config.data.train") for override in overrides):
        arguments += ["--config.data.train=train.npz", "--config.data.test=test.npz"]
    return main(["main", *arguments, f"--workdir={workdir}", *overrides])


def lines(workdir: str = "run") -> list[dict]:
    return tiny.results(Path(workdir))


def measured(workdir: str = "run") -> list[Any]:
    """Returns what was measured of every student, but for its teacher's part."""
    keys = ("method", "settings", "validation")
    return [[line[key] for key in keys] + [line["test"]["accuracy"]] for line in lines(workdir)]


def rows_of(arrays: Mapping[str, np.ndarray], rows: Any) -> dict[str, np.ndarray]:
    return {
        name: values if name == "output_weights" else values[rows]
        for name, values in arrays.items()
    }


def save_npz(name: str, arrays: Mapping[str, np.ndarray]) -> list[str]:
    np.savez(f"{name}.npz", **arrays)
    return [f"--config.teacher.files={name}.npz"]


def save_compressed(name: str, arrays: Mapping[str, np.ndarray]) -> list[str]:
    np.savez_compressed(f"{name}.npz", **arrays)
    return [f"--config.teacher.files={name}.npz"]


def save_npy(name: str, arrays: Mapping[str, np.ndarray]) -> list[str]:
    Path(name).mkdir()
    for key, values in arrays.items():
        np.save(f"{name}/{key}.npy", values)
    return [f"--config.teacher.files={name}"]


def save_zarr(name: str, arrays: Mapping[str, np.ndarray]) -> list[str]:
    """As others write it: zarr version 2, except for texts, which stay in an .npy file."""
    Path(name).mkdir()
    for key, values in arrays.items():
        if values.dtype.kind == "U":
            np.save(f"{name}/{key}.npy", values)
            continue
        tensorstore.open(
            {"driver": "zarr", "kvstore": {"driver": "file", "path": f"{name}/{key}/"}},
            create=True,
            dtype=values.dtype,
            shape=values.shape,
            chunk_layout=tensorstore.ChunkLayout(chunk_shape=[7, *values.shape[1:]]),
        ).result().write(values).result()
    return [f"--config.teacher.files={name}"]


def save_parquet(name: str, arrays: Mapping[str, np.ndarray]) -> list[str]:
    arrays = dict(arrays)
    flags = [f"--config.teacher.files={name}.parquet"]
    if "output_weights" in arrays:
        np.save(f"{name}_weights.npy", arrays.pop("output_weights"))
        flags.append(f"--config.teacher.output_weights={name}_weights.npy")
    columns = {key: list(values) for key, values in arrays.items()}
    parquet.write_table(pa.table(columns), f"{name}.parquet", row_group_size=50)
    return flags


FORMATS: dict[str, Callable[[str, Mapping[str, np.ndarray]], list[str]]] = {
    "npz": save_npz,
    "compressed npz": save_compressed,
    "npy": save_npy,
    "zarr": save_zarr,
    "parquet": save_parquet,
}
