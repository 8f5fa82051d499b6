"""Class names in the metadata of a Parquet file whose labels are whole numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lelp_jax.core.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

    from lelp_jax.data.labels import LabelColumn


def read_common_names(schemas: Mapping[str, pa.Schema], labels: LabelColumn) -> tuple[str, ...]:
    """Reads the names that the first file gives to the numbers of a column.

    Args:
        schemas: Schema of each file by the file's name, that of the training rows first.
        labels: The column in the training rows.

    Returns:
        One name per number; empty where the first file has none, or labels are names themselves.

    Raises:
        UserError: Another file gives the numbers other names.
    """
    if labels.by_name:
        return ()
    (first, schema), *others = schemas.items()
    names = read_names(schema, labels.name)
    for file, schema in others:
        other = read_names(schema, labels.name)
        if names and other and other != names:
            raise UserError(
                f"{file} calls the numbers in {labels.name!r} {', '.join(other)}, but "
                f"{first} {', '.join(names)}; number the classes in the same way"
            )
    return names


def read_names(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """Reads the names that a file's metadata give to the numbers of a column.

    Read are a JSON list under the key COLUMN_names ("label_names" for the column "label"), in which
    the position is the number, and the features that Hugging Face's `datasets` writes.

    Args:
        schema: The file's schema, with its metadata.
        column: The column of labels.

    Returns:
        One name per number; empty where the file has none.
    """
    metadata = schema.metadata or {}
    names = _json(metadata.get(f"{column}_names".encode()))
    if names is None:
        features = _json(metadata.get(b"huggingface"))
        for name in ("info", "features", column, "names"):
            features = features.get(name) if isinstance(features, dict) else None
        names = features
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        return ()
    return tuple(names) if len(set(names)) == len(names) else ()


def _json(content: bytes | None) -> Any:
    """Parses a JSON text; None where it is missing or invalid."""
    try:
        return None if content is None else json.loads(content)
    except ValueError:
        return None
