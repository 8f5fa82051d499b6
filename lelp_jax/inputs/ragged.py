"""Concatenated lists of tokens of different lengths, and their files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from lelp_jax.core import arrays
from lelp_jax.core.errors import Damaged
from lelp_jax.models.tokens import PAD


@dataclasses.dataclass(frozen=True)
class Ragged:
    """The tokens of texts.

    Attributes:
        tokens: Those of the first text, then those of the second, ...: [tokens] integers.
        lengths: How many each text has, [rows] integers.
    """

    tokens: np.ndarray
    lengths: np.ndarray

    def pad(self) -> np.ndarray:
        """Pads tokens to the longest text, [rows, length] int32 with -1 after the end."""
        length = int(self.lengths.max(initial=0))
        padded = np.full((len(self.lengths), length), PAD, np.int32)
        padded[np.arange(length) < self.lengths[:, None]] = self.tokens
        return padded

    def select_rows(self, rows: np.ndarray) -> np.ndarray:
        """Selects the tokens of some texts, [tokens], in the order of all texts.

        Args:
            rows: Positions of the texts, each once.
        """
        wanted = np.zeros(len(self.lengths), bool)
        wanted[rows] = True
        return self.tokens[np.repeat(wanted, self.lengths)]


def write(folder: Path, ragged: Ragged) -> list[str]:
    """Writes tokens into a folder, 2 bytes each where that is enough, and returns the files' names.

    Args:
        folder: A folder that is there.
        ragged: The tokens.
    """
    small = ragged.tokens.max(initial=0) <= np.iinfo(np.uint16).max
    tokens = ragged.tokens.astype(np.uint16 if small else np.int32)
    lengths = ragged.lengths.astype(np.int32)
    names = ["tokens.npy", "lengths.npy"]
    for name, values in zip(names, (tokens, lengths), strict=True):
        arrays.write_array(folder / name, values)
    return names


def read(folder: Path, names: list[str], rows: int) -> Ragged:
    """Reads what `write` wrote.

    Args:
        folder: The folder.
        names: What `write` returned; earlier versions put a checksum into them.
        rows: How many texts there are.

    Raises:
        Damaged: A file is missing or unreadable, or the texts are not as many.
    """
    tokens, lengths = (arrays.read_array(folder / name) for name in names)
    if len(lengths) != rows or lengths.sum(dtype=np.int64) != len(tokens):
        raise Damaged(
            f"{folder} holds {len(tokens)} tokens of {len(lengths)} texts, not those of {rows}",
            folder,
        )
    return Ragged(tokens, lengths)
