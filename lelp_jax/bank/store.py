"""File format of banks: writing, resuming and reading them.

Rows are looked up by their index in the data set, never by order: a student that sees shuffled or
sampled rows would otherwise learn from the teacher's outputs for other rows, and nothing but worse
metrics would show it. The manifest names the teacher and the data and holds a checksum of every
chunk, so that a bank of another teacher or a damaged one is never used.

A bank consists of `manifest.json` and the zarr arrays `index` [rows], `logits` [rows, outputs],
`embeddings` [rows, dims] and `output_weights` [dims, outputs]. While it is being written,
`plan.json` describes the bank and `chunks/<number>.json` holds the checksums of the chunks that are
finished, from which an interrupted run resumes.
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
# A chunk is the unit of reading, checking and resuming. About 8 MiB is large enough for object
# stores and small enough that a random part of the rows reads little more than it needs.
_CHUNK_BYTES = 8 << 20
_MOST_CHUNK_ROWS = 16384

Answers = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Bank:
    """The outputs of one teacher; each array is opened on first access.

    Attributes:
        location: Folder or address of the arrays.
        fingerprint: Hash of everything the bank depends on.
        manifest: Teacher and data of the bank, shapes and checksums.
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
        """Logits of the teacher, [rows, outputs] float32."""
        return np.asarray(self._array("logits"))

    @functools.cached_property
    def embeddings(self) -> CheckedArray:
        """Embeddings, [rows, dims] float32; read in parts, since they may exceed the memory."""
        return self._array("embeddings")

    @functools.cached_property
    def output_weights(self) -> np.ndarray:
        """Weights of the teacher's output layer, [dims, outputs] float32."""
        return np.asarray(self._array("output_weights"))

    def find_positions(self, index: np.ndarray) -> np.ndarray:
        """Finds the positions in the bank of rows given by their data-set index.

        Raises:
            KeyError: A row is not in the bank.
        """
        # Beyond the last row, searchsorted returns the length, which the comparison cannot index.
        position = np.minimum(np.searchsorted(self.index, index), len(self.index) - 1)
        if not np.array_equal(self.index[position], index):
            raise KeyError(f"rows that are not in the bank {self.location}")
        return position

    def _array(self, name: str) -> CheckedArray:
        shape, checksums = self.manifest["shapes"][name], self.manifest["checksums"][name]
        try:
            array = zarr.open(objects.join(self.location, name))
        except Unavailable:
            # An address that cannot be reached says nothing about the bank, which must be kept.
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
    """The contents of a bank to be written.

    Attributes:
        of: Fingerprints of teacher and data.
        index: Data-set indices of the rows, sorted, [rows].
        answers: Computes logits [n, outputs] and embeddings [n, dims] of rows given by their
            data-set index [n].
        output_weights: Computes the weights of the output layer, [dims, outputs].
        shape: Outputs and dims.
        dtype: Type in which embeddings are stored, one of `DTYPES`.
    """

    of: Mapping[str, str]
    index: np.ndarray
    answers: Answers
    output_weights: Callable[[], np.ndarray]
    shape: tuple[int, int]
    dtype: str


def write(location: str, contents: Contents, check: Callable[[], None]) -> None:
    """Writes a bank, or the missing chunks of one; several processes share the chunks.

    Args:
        location: Folder or address.
        contents: What to write.
        check: Called before every chunk; may raise to stop.

    Raises:
        OSError: The disk is full or cannot be written.
        UserError: The address cannot be written.
    """
    index, dtype = contents.index, contents.dtype
    outputs, dims = contents.shape
    plan = _plan(contents)
    rows, chunk_rows = plan["rows"], plan["chunk_rows"]
    names = [objects.join(location, name) for name in ("logits", "embeddings")]
    finished = _read_manifest(location)
    if finished is not None and plan.items() <= finished.items():
        # Finished by a run in another workdir that shares this location, or by one that was killed
        # before it wrote the marker in its workdir.
        if parallel.is_first_process():
            objects.delete_tree(objects.join(location, "chunks"))
        return
    # Chunks of another plan cannot be used: their rows, their values or their size differ.
    if parallel.is_first_process() and _read_json(location, "plan.json") != plan:
        objects.delete_tree(location)
        zarr.create(names[0], (rows, outputs), np.float32, chunk_rows)
        zarr.create(names[1], (rows, dims), jnp.dtype(dtype), chunk_rows)
        _write_json(location, "plan.json", plan)
    # No process may open the arrays before the first one has created them.
    parallel.wait_for_processes("bank planned")
    arrays = dict(zip(("logits", "embeddings"), map(zarr.open, names), strict=True))
    chunks = math.ceil(rows / chunk_rows)
    share = parallel.pick_own_share(chunks)
    for number in range(share.start, share.stop):
        if objects.exists(location, _name_chunk(number)):
            continue
        check()
        start = number * chunk_rows
        logits, embeddings = contents.answers(index[start : start + chunk_rows])
        # Checksums are computed of the values as they will be read, after rounding to the dtype.
        parts = {
            "logits": np.asarray(logits, np.float32),
            "embeddings": np.asarray(np.asarray(embeddings, jnp.dtype(dtype)), np.float32),
        }
        for name, values in parts.items():
            arrays[name].write(start, values)
        done = {name: checksum(values) for name, values in parts.items()}
        # Written after the values: a chunk that has checksums is complete.
        _write_json(location, _name_chunk(number), done)
    # Called by all processes, since computing the weights may be a collective operation.
    output_weights = contents.output_weights()
    parallel.wait_for_processes("bank written")
    if parallel.is_first_process():
        _finish(location, plan, index, output_weights, chunks)
    # No process may read the bank before it has a manifest.
    parallel.wait_for_processes("bank finished")


def count_finished(location: str, contents: Contents) -> int | None:
    """Counts the rows that `write` need not answer, because it did before it was interrupted.

    Args:
        location: Folder or address.
        contents: What to write.

    Returns:
        The rows; None if what is there was written for other contents, so that none can be used.
    """
    plan, begun = _plan(contents), _read_json(location, "plan.json")
    if begun is None:
        return 0
    if begun != plan:
        return None
    finished = _read_manifest(location)
    if finished is not None and plan.items() <= finished.items():
        return int(plan["rows"])
    starts = range(0, plan["rows"], plan["chunk_rows"])
    return sum(
        min(plan["chunk_rows"], plan["rows"] - start)
        for number, start in enumerate(starts)
        if objects.exists(location, _name_chunk(number))
    )


def _plan(contents: Contents) -> dict[str, Any]:
    """Describes a bank to be written: chunks of another plan cannot be used for it."""
    outputs, dims = contents.shape
    rows = len(contents.index)
    chunk_rows = min(_CHUNK_BYTES // (4 * dims), _MOST_CHUNK_ROWS, rows)
    return {
        "format": FORMAT,
        **contents.of,
        "rows": rows,
        "index": checksum(contents.index.astype(np.int64)),
        "shape": [outputs, dims],
        "dtype": contents.dtype,
        "chunk_rows": 1 << max(chunk_rows, 1).bit_length() - 1,
    }


def _finish(
    location: str,
    plan: Mapping[str, Any],
    index: np.ndarray,
    output_weights: np.ndarray,
    chunks: int,
) -> None:
    """Writes index, output weights and the manifest, whose presence marks the bank as finished."""
    done = [_read_json(location, _name_chunk(number)) for number in range(chunks)]
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
    _write_json(location, "manifest.json", {**manifest, "checksum": _compute_checksum(manifest)})
    objects.delete_tree(objects.join(location, "chunks"))


def exists(location: str) -> bool:
    """Checks whether a location holds a finished bank, which may be damaged."""
    return objects.exists(location, "manifest.json")


def read(location: str, fingerprint: str, of: Mapping[str, str], index: np.ndarray) -> Bank:
    """Opens a bank that `write` finished and checks that it is the expected one.

    Args:
        location: Folder or address.
        fingerprint: Hash of everything the bank depends on.
        of: Fingerprints of the teacher and the data that the bank must have.
        index: Data-set indices that its rows must have, sorted, [rows].

    Raises:
        Damaged: The bank belongs to another teacher or other data, has other rows, or is damaged.
    """
    manifest = _read_manifest(location)
    if manifest is None:
        problem = "has changed since it was written" if exists(location) else "is missing"
        raise Damaged(f"the bank {location} is damaged (manifest.json {problem})", location)
    for name, expected in {**of, "format": FORMAT}.items():
        if manifest.get(name) != expected:
            raise Damaged(
                f"the bank {location} is another one: its {name} is {manifest.get(name)}, not "
                f"{expected}",
                location,
            )
    bank = Bank(location, fingerprint, manifest)
    if not np.array_equal(bank.index, index):
        raise Damaged(
            f"the bank {location} holds {len(bank.index)} rows, not the {len(index)} rows of these "
            "data in their order",
            location,
        )
    return bank


def _name_chunk(number: int) -> str:
    return f"chunks/{number:06d}.json"


def _read_manifest(location: str) -> dict[str, Any] | None:
    """Reads the manifest; None if it is missing or fails its checksum."""
    manifest = _read_json(location, "manifest.json")
    if not isinstance(manifest, dict) or manifest.pop("checksum", None) != _compute_checksum(
        manifest
    ):
        return None
    return manifest


def _compute_checksum(manifest: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(manifest, sort_keys=True).encode())


def _write_json(location: str, name: str, content: Mapping[str, Any]) -> None:
    objects.write_bytes(location, name, json.dumps(content).encode())


def _read_json(location: str, name: str) -> Any:
    """Reads a JSON file; None if it is missing or cannot be parsed."""
    content = objects.read_bytes(location, name)
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
