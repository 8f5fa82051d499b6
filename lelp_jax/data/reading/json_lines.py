"""What is special of JSON lines: halves of characters, and finding an error and its line."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lelp_jax.core.errors import UserError

_LOG = logging.getLogger(__name__)
# Any escape, so that a backslash which is itself escaped begins none: a pair of surrogates, which
# is one character, or a single one, which is half of one.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
_KINDS = {int: "a number", float: "a number", bool: "true or false", list: "a list", dict: "a dict"}


def replace_half_characters(path: Path, content: bytes) -> bytes:
    """Replaces halves of characters, as texts cut inside an emoji hold, by U+FFFD, and warns.

    Args:
        path: The file, for the log.
        content: What it holds: UTF-8, in which other programs write half a character as an escape.
    """
    if b"\\ud" not in content and b"\\uD" not in content:
        return content
    halves: list[int] = []

    def replace(match: re.Match[bytes]) -> bytes:
        if match[1] is None:
            return match[0]
        halves.append(match.start())
        return b"\\ufffd"

    replaced = _ESCAPE.sub(replace, content)
    if halves:
        _LOG.warning(
            "%s line %d: half of a character (%s) is read as U+FFFD, as are %d in all; cut texts "
            "between characters",
            path,
            content.count(b"\n", 0, halves[0]) + 1,
            content[halves[0] : halves[0] + 6].decode(),
            len(halves),
        )
    return replaced


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
            values = json.loads(line, object_pairs_hook=_read_pairs, parse_float=_read_float)
        except _BadValueError as error:
            raise UserError(f"{path} line {number}: {error}") from None
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


class _BadValueError(ValueError):
    """What JSON allows and a table cannot hold."""


def _read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    for key in keys:
        if keys.count(key) > 1:
            raise _BadValueError(f"key {key!r} is given {keys.count(key)} times; keep one of them")
    return dict(pairs)


def _read_float(text: str) -> float:
    if math.isinf(float(text)):
        raise _BadValueError(f"the number {text} is beyond the range of float64; correct it")
    return float(text)
