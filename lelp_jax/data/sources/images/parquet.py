"""Encoded images in a column of Parquet files, as the Hugging Face hub stores them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.images import cache
from lelp_jax.data.sources.images.collection import EncodedImageSource, EncodedSplit

if TYPE_CHECKING:
    import pyarrow as pa

    from lelp_jax.data.reading.parquet_rows import ParquetRows


def read_column(
    source: EncodedImageSource,
    splits: Mapping[str, ParquetRows],
    named: str,
    others: Collection[str],
) -> dict[str, np.ndarray]:
    """Reads the images of all splits, [rows, height, width, channels] uint8 each.

    Args:
        source: How they are decoded.
        splits: The rows.
        named: The column of images; "" takes the only one.
        others: Columns that have another meaning.

    Raises:
        UserError: There is no such column, or an image cannot be used.
    """
    column = named or _find_column(splits["train"].schemas, others)
    for rows in splits.values():
        for name, schema in rows.schemas.items():
            if column not in schema.names or not _holds_images(schema.field(column).type):
                held = schema.field(column).type if column in schema.names else "nothing"
                raise UserError(
                    f"{name}, column {column}: it holds {held}, not encoded images; name the "
                    "column of images with --config.data.image=NAME"
                )
    return source.read_images(
        {
            split: EncodedSplit(functools.partial(_read, rows, column), rows.place)
            for split, rows in splits.items()
        },
        {
            "column": column,
            **{
                split: [cache.describe_files(rows.paths), _describe(rows.kept)]
                for split, rows in splits.items()
            },
        },
    )


def _describe(kept: np.ndarray) -> list[int]:
    """Describes which rows are kept: all up to a number, or a sample, which its size determines."""
    return [len(kept), int(kept[-1])]


def _find_column(schemas: Mapping[str, pa.Schema], others: Collection[str]) -> str:
    """Finds the name of the only column of images."""
    name, schema = next(iter(schemas.items()))
    found = [
        field.name for field in schema if _holds_images(field.type) and field.name not in others
    ]
    if len(found) != 1:
        problem = "several columns of images" if found else "no column of encoded images"
        listed = ", ".join(found or schema.names)
        raise UserError(f"{name} has {problem}; name one with --config.data.image=NAME: {listed}")
    return found[0]


def _holds_images(kind: pa.DataType) -> bool:
    """Checks for bytes, or for what `datasets` makes of them: a struct of bytes and a path."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_images(kind.field("bytes").type)
    return any(
        test(kind)
        for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    )


def _read(rows: ParquetRows, column: str) -> list[bytes]:
    """Reads the content of each image.

    Raises:
        UserError: One is missing.
    """
    images = []
    for row, cell in enumerate(rows.read(column).to_pylist()):
        content = cell
        if isinstance(cell, dict):
            content = cell["bytes"]
        if content is None:
            path = cell.get("path") if isinstance(cell, dict) else None
            hint = f", but only the path {path!r}" if path else ""
            raise UserError(
                f"{rows.place(row)}, column {column}: there is no image{hint}; store the content "
                "of the file, or remove the row"
            )
        images.append(content)
    return images
