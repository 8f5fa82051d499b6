"""Writes a teacher's answers as one file or folder."""

from __future__ import annotations

import numpy as np

from lelp_jax.answering.classes import Matching
from lelp_jax.answering.texts import TextRows
from lelp_jax.bank.store import Bank
from lelp_jax.core.errors import UserError
from lelp_jax.data import identity
from lelp_jax.storage import objects
from lelp_jax.storage.write import ArraySpec, check_destination, open_writer


def check(location: str, texts: TextRows) -> None:
    """Refuses a location that cannot hold the answers.

    Args:
        location: Where the answers go.
        texts: The rows.

    Raises:
        UserError: The location cannot be written, or has no place for all arrays.
    """
    if _suffix(location) in (".parquet", ".pq"):
        raise UserError(
            f"--out={location}: Parquet has no place for output weights; give .npz, .zarr or a "
            "folder"
        )
    check_destination(location, "--out")
    if not _holds_texts(location) and texts.ids is not None and _as_numbers(texts.ids) is None:
        raise UserError(
            f"--out={location}: ids such as {str(texts.ids[0])!r} are texts, which zarr does not "
            "hold; give .npz or a folder"
        )


def write(
    location: str,
    texts: TextRows,
    bank: Bank,
    matching: Matching,
    layer: tuple[np.ndarray, np.ndarray],
    logits: np.ndarray,
) -> None:
    """Writes the answers, chunk by chunk, in the order of the texts.

    Args:
        location: File, folder or address; its ending says the format.
        texts: The rows.
        bank: Their embeddings.
        matching: Names of the classes.
        layer: Weights [dims, classes] and bias [classes] of the output layer.
        logits: [rows, classes], columns in the order of the classes.

    Raises:
        Damaged: What was answered before has changed since.
        UserError: The location cannot be written.
    """
    weights, bias = layer
    rows: dict[str, np.ndarray] = {
        "logits": logits,
        "text_hashes": identity.hash_texts(texts.texts),
    }
    if texts.ids is not None:
        numbers = None if _holds_texts(location) else _as_numbers(texts.ids)
        rows["ids"] = texts.ids if numbers is None else numbers
    if texts.labels is not None:
        rows["labels"] = texts.labels
    whole = {"output_weights": weights, "output_bias": bias}
    if matching.names and _holds_texts(location):
        whole["label_names"] = np.asarray(matching.names, np.str_)
    specs = {
        name: ArraySpec(values.shape, values.dtype) for name, values in {**rows, **whole}.items()
    }
    specs["embeddings"] = ArraySpec(bank.embeddings.shape, np.float32)
    with open_writer(location, specs, "--out") as writer:
        writer.write(0, whole)
        for start in range(0, len(texts), writer.chunk_rows):
            chunk = slice(start, min(start + writer.chunk_rows, len(texts)))
            parts = {name: values[chunk] for name, values in rows.items()}
            writer.write(start, {**parts, "embeddings": bank.embeddings[chunk]})


def _suffix(location: str) -> str:
    return ".zarr" if objects.is_url(location) else objects.local_path(location).suffix.lower()


def _holds_texts(location: str) -> bool:
    return _suffix(location) != ".zarr"


def _as_numbers(ids: np.ndarray) -> np.ndarray | None:
    """Converts ids to whole numbers that read as the same ids; None where they do not."""
    try:
        numbers = ids.astype(np.int64)
    except (ValueError, OverflowError):
        return None
    return numbers if np.array_equal(numbers.astype(np.str_), ids) else None
