"""Finds the error in a file of JSON lines, and its line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lelp_jax.core.errors import UserError

_KINDS = {int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "a dict"}


def find_bad_object(path: Path, records: Iterator[tuple[int, str]]) -> None:
    """Raises the error for the first line that does not fit those before it.

    Args:
        path: The file.
        records: Number and content of each line.

    Raises:
        UserError: There is such a line.
    """
    kinds: dict[str, str] = {}
    for number, line in records:
        try:
            values = json.loads(line)
        except ValueError as error:
            if line.startswith("["):
                values = []
            else:
                raise UserError(
                    f"{path} line {number} is not JSON: {error}: {line[:60]!r}"
                ) from None
        if not isinstance(values, dict):
            raise UserError(
                f"{path} line {number} is not an object: {line[:60]!r}; "
                "write one {...} per line, without brackets around them all"
            )
        for key, value in values.items():
            kind = _KINDS.get(type(value), "text")
            if value is not None and kinds.setdefault(key, kind) != kind:
                raise UserError(
                    f"{path} line {number}, column {key}: {value!r} is {kind}, "
                    f"but the lines before hold {kinds[key]}; write all in the same way"
                )
