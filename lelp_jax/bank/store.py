"""The files of a bank.

Rows are found by their index in the data set, never by order, so a shuffled or sampled student
cannot read another row's teacher. A manifest says which teacher and which data a bank is of and
holds a checksum of every chunk; nothing else is read as if it were the bank.

A bank is `manifest.json` and the zarr arrays `index` [rows], `logits` [rows, outputs], `embeddings`
[rows, dims] and `output_weights` [dims, outputs]. While it is written, `plan.json` says what is
being written and `chunks/<number>.json` which chunks are done.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.core.errors import Damaged, Unavailable, UserError
from lelp_jax.storage import objects, zarr
from lelp_jax.storage.checked import CheckedArray, checksum

FORMAT = 1
DTYPES = ("float32", "bfloat16")
ARRAYS = ("index", "logits", "embeddings", "output_weights")
_CHUNK_BYTES = 8 << 20
_MOST_CHUNK_ROWS = 16384

Answers = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Bank:
    """One teacher's outputs, read when they are first asked for.

    Attributes:
        location: Folder or address of the arrays.
        fingerprint: Names teacher and data.
        manifest: What the bank is of, with the checksums.
    """

    location: str
    fingerprint: str
    manifest: Mapping[str, Any]

    @functools.cached_property
    def index(self) -> np.ndarray:
        """Data-set indices of the rows, sorted, [rows]."""
        return np.asarray(self._array("index"))

    @functools.cached_property
    def logits(self) -> np.ndarray:
        """[rows, outputs] float32."""
        return np.asarray(self._array("logits"))

    @functools.cached_property
    def embeddings(self) -> CheckedArray:
        """[rows, dims] float32; read by parts, since they need not fit into memory."""
        return self._array("embeddings")

    @functools.cached_property
    def output_weights(self) -> np.ndarray:
        """Weights of the teacher's output layer, [dims, outputs] float32."""
        return np.asarray(self._array("output_weights"))

    def position(self, index: np.ndarray) -> np.ndarray:
        """Returns where the rows with these data-set indices lie.

        Raises:
            KeyError: A row is not in the bank.
        """
        place = np.minimum(np.searchsorted(self.index, index), len(self.index) - 1)
        if not np.array_equal(self.index[place], index):
            raise KeyError(f"rows that are not in the bank {self.location}")
        return place

    def _array(self, name: str) -> CheckedArray:
        shape, checksums = self.manifest["shapes"][name], self.manifest["checksums"][name]
        try:
            array = zarr.open(objects.join(self.location, name))
        except Unavailable:
            raise
        except UserError as error:
            problem = f"the bank {self.location} is damaged ({error})"
            raise Damaged(problem, self.location) from error
        if list(array.shape) != shape or math.ceil(len(array) / array.chunk_rows) != len(checksums):
            raise Damaged(
                f"the bank {self.location} is damaged ({name} has shape {array.shape} in chunks of "
                f"{array.chunk_rows}, the manifest says {tuple(shape)} in {len(checksums)} chunks)",
                self.location,
            )
        return CheckedArray(array, checksums, self.location)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a bank is to hold.

    Attributes:
        of: Names of teacher and data.
        index: Data-set indices of the rows, sorted, [rows].
        answers: Computes logits [n, outputs] and embeddings [n, dims] of rows given by their
            data-set index [n].
        output_weights: Computes the weights of the output layer, [dims, outputs].
        shape: Outputs and dims.
        dtype: In which the embeddings are kept, one of `DTYPES`.
    """

    of: Mapping[str, str]
    index: np.ndarray
    answers: Answers
    output_weights: Callable[[], np.ndarray]
    shape: tuple[int, int]
    dtype: str


def write(location: str, contents: Contents, check: Callable[[], None]) -> None:
    """Writes a bank, or what is missing of one; the processes share the chunks.

    Args:
        location: Folder or address.
        contents: What it is to hold.
        check: Called before every chunk; may raise to stop.

    Raises:
        OSError: The disk is full or cannot be written.
        UserError: The address cannot be written.
    """
    index, dtype = contents.index, contents.dtype
    outputs, dims = contents.shape
    rows = len(index)
    chunk_rows = min(_CHUNK_BYTES // (4 * dims), _MOST_CHUNK_ROWS, rows)
    chunk_rows = 1 << max(chunk_rows, 1).bit_length() - 1
    plan = {
        "format": FORMAT,
        **contents.of,
        "rows": rows,
        "index": checksum(index.astype(np.int64)),
        "shape": [outputs, dims],
        "dtype": dtype,
        "chunk_rows": chunk_rows,
    }
    names = [objects.join(location, name) for name in ("logits", "embeddings")]
    finished = _read_manifest(location)
    if finished is not None and plan.items() <= finished.items():
        # A run in another workdir made it, or one that was killed before it could say so.
        if parallel.is_first_process():
            objects.delete_tree(objects.join(location, "chunks"))
        return
    if parallel.is_first_process() and _read_json(location, "plan.json") != plan:
        objects.delete_tree(location)
        zarr.create(names[0], (rows, outputs), np.float32, chunk_rows)
        zarr.create(names[1], (rows, dims), jnp.dtype(dtype), chunk_rows)
        _write_json(location, "plan.json", plan)
    parallel.wait_for_processes("bank planned")
    arrays = dict(zip(("logits", "embeddings"), map(zarr.open, names), strict=True))
    chunks = math.ceil(rows / chunk_rows)
    own = parallel.share_of_process(chunks)
    for number in range(own.start, own.stop):
        if objects.exists(location, _chunk(number)):
            continue
        check()
        start = number * chunk_rows
        logits, embeddings = contents.answers(index[start : start + chunk_rows])
        # The checksums are those of the values as they will be read.
        parts = {
            "logits": np.asarray(logits, np.float32),
            "embeddings": np.asarray(np.asarray(embeddings, jnp.dtype(dtype)), np.float32),
        }
        for name, values in parts.items():
            arrays[name].write(start, values)
        done = {name: checksum(values) for name, values in parts.items()}
        _write_json(location, _chunk(number), done)
    # By all processes: they may have to join to find them.
    found = contents.output_weights()
    parallel.wait_for_processes("bank written")
    if parallel.is_first_process():
        _finish(location, plan, index, found, chunks)
    parallel.wait_for_processes("bank finished")


def _finish(
    location: str,
    plan: Mapping[str, Any],
    index: np.ndarray,
    output_weights: np.ndarray,
    chunks: int,
) -> None:
    done = [_read_json(location, _chunk(number)) for number in range(chunks)]
    checksums = {name: [part[name] for part in done] for name in ("logits", "embeddings")}
    shapes = {"logits": [plan["rows"], plan["shape"][0]]}
    shapes["embeddings"] = [plan["rows"], plan["shape"][1]]
    for name, values in (
        ("index", index.astype(np.int64)),
        ("output_weights", output_weights.astype(np.float32)),
    ):
        array = zarr.create(objects.join(location, name), values.shape, values.dtype, len(values))
        array.write(0, values)
        checksums[name], shapes[name] = [checksum(values)], list(values.shape)
    manifest = {**plan, "shapes": shapes, "checksums": checksums}
    _write_json(location, "manifest.json", {**manifest, "checksum": _checksum(manifest)})
    objects.delete_tree(objects.join(location, "chunks"))


def exists(location: str) -> bool:
    """Tells whether a bank lies there that was finished, be it damaged."""
    return objects.exists(location, "manifest.json")


def read(location: str, fingerprint: str, of: Mapping[str, str], index: np.ndarray) -> Bank:
    """Returns a bank that `write` finished.

    Args:
        location: Folder or address.
        fingerprint: Names teacher and data.
        of: What the bank must be of.
        index: Data-set indices that its rows must have, sorted, [rows].

    Raises:
        Damaged: The bank is of another teacher, other data or another order, or is damaged.
    """
    manifest = _read_manifest(location)
    if manifest is None:
        problem = "not as it was written" if exists(location) else "missing"
        raise Damaged(f"the bank {location} is damaged (manifest.json is {problem})", location)
    for name, wanted in {**of, "format": FORMAT}.items():
        if manifest.get(name) != wanted:
            raise Damaged(
                f"the bank {location} is not the one wanted: its {name} is "
                f"{manifest.get(name)}, not {wanted}",
                location,
            )
    bank = Bank(location, fingerprint, manifest)
    if not np.array_equal(bank.index, index):
        raise Damaged(
            f"the bank {location} holds {len(bank.index)} rows in an order of its own, not the "
            f"{len(index)} rows of these data",
            location,
        )
    return bank


def _chunk(number: int) -> str:
    return f"chunks/{number:06d}.json"


def _read_manifest(location: str) -> dict[str, Any] | None:
    """Returns the manifest; None where there is none, or it is not as it was written."""
    manifest = _read_json(location, "manifest.json")
    if not isinstance(manifest, dict) or manifest.pop("checksum", None) != _checksum(manifest):
        return None
    return manifest


def _checksum(manifest: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _write_json(location: str, name: str, content: Mapping[str, Any]) -> None:
    objects.write_bytes(location, name, json.dumps(content).encode())


def _read_json(location: str, name: str) -> Any:
    content = objects.read_bytes(location, name)
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
