"""The names of rows, by which arrays that another program made are joined to them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from lelp_jax.core.errors import UserError


def read(raw: np.ndarray, name: str, place: Callable[[int], str]) -> np.ndarray:
    """Converts the rows' names to texts, so that the number 7 and the text "7" are the same.

    Args:
        raw: [rows] whole numbers, texts, or objects that are texts or whole numbers.
        name: The column's or key's name.
        place: Names a row for a message ("train.csv line 7").

    Raises:
        UserError: A row has no name, or two rows have the same.
    """
    if raw.dtype.kind == "f":
        wrong = ~(np.isfinite(raw) & (raw == np.round(raw)) & (np.abs(raw) < 2**53))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise UserError(
                f"{place(row)}: {name} {raw[row]} is not a whole number; name every row by a whole "
                "number or a text"
            )
        raw = raw.astype(np.int64)
    elif raw.dtype.kind not in "iuSUO":
        raise UserError(f"{place(0)}: {name} holds {raw.dtype}; whole numbers or texts are needed")
    given = [_text(value) for value in raw.tolist()]
    texts = np.array(given, np.str_)
    for row, text in enumerate(given):
        # NumPy ends a text at its last character that is not NUL.
        if text.endswith("\0"):
            raise UserError(f"{place(row)}: {name} {text!r} ends with a NUL character; remove it")
    if (texts == "").any():
        row = int(np.argmax(texts == ""))
        raise UserError(f"{place(row)}: {name} is empty; give every row a name")
    refuse_twice(texts, name, place)
    return texts


def refuse_twice(texts: np.ndarray, name: str, place: Callable[[int], str]) -> None:
    """Raises the error for a name that two rows have.

    Args:
        texts: Names, [rows].
        name: The column's or key's name.
        place: Names a row for the message.
    """
    order = np.argsort(texts, kind="stable")
    twice = np.flatnonzero(texts[order][1:] == texts[order][:-1])
    if len(twice):
        first, second = order[twice[0]], order[twice[0] + 1]
        raise UserError(
            f"{place(int(second))}: {name} {str(texts[second])!r} is also that of "
            f"{place(int(first))}; each row needs its own"
        )


def _text(value: object) -> str:
    if value is None:
        return ""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()


# A whole number with zeros before it, or as a column of floats writes it.
_PADDED = re.compile(r"0*(\d+?)(\.0)?")


def refuse_other_spelling(wanted: np.ndarray, there: np.ndarray, where: str) -> None:
    """Checks that names are not the same numbers, written as "007" on one side and 7 on the other.

    Args:
        wanted: Names of the data's rows, [wanted] texts.
        there: Names of the rows that they are joined with, each once, [rows] texts.
        where: The file that holds these, for the message.

    Raises:
        UserError: A name is missing there, but for how a number is written.
    """
    missing = wanted[find_positions(wanted, there) < 0]
    if not len(missing):
        return
    numbers = {number: name for name in there.tolist() if (number := _number(name))}
    for name in missing.tolist():
        other = numbers.get(_number(name))
        if other is not None:
            raise UserError(
                f"{where}: the id {name!r} of the data is not the id {other!r} there; ids are "
                "compared as texts, so write them in the same way in both"
            )


def _number(name: str) -> str:
    """Writes a number without zeros before it; "" for other names."""
    match = _PADDED.fullmatch(name)
    return match[1] if match else ""


def find_positions(wanted: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Finds the position of each wanted name among those there, [wanted] int64; -1 where missing.

    Args:
        wanted: Texts, [wanted].
        there: Texts, each once, [rows].
    """
    order = np.argsort(there)
    place = np.minimum(np.searchsorted(there[order], wanted), len(there) - 1)
    found = order[place]
    return np.where(there[found] == wanted, found, -1)


def hash_texts(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """Hashes each text to 64 bits, [rows] int64, so that rows of texts can be compared.

    Args:
        texts: [rows] texts.
    """
    digests = (
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        for text in texts
    )
    return np.frombuffer(b"".join(digests), "<i8").astype(np.int64)
