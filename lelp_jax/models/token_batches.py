"""Batches of texts of about the same length, of few shapes, for networks that are not trained."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_TOKENS_PER_BATCH = 1 << 14


class TokenBatch(NamedTuple):
    """Rows that are embedded together.

    Attributes:
        rows: Their positions, [n].
        length: How many places each is given; no row has more tokens.
    """

    rows: np.ndarray
    length: int


def make_batches(counts: np.ndarray, longest: int) -> list[TokenBatch]:
    """Makes batches of texts of about the same length, the short ones first.

    Args:
        counts: How many tokens each text has, [rows].
        longest: Places that the network has at most.

    Returns:
        Batches that hold every row once. They follow from the arguments alone.
    """
    limits = np.asarray(_limits(longest))
    limit = limits[np.searchsorted(limits, counts)]
    order = np.argsort(counts, kind="stable")
    result = []
    for length in np.unique(limit):
        rows = order[limit[order] == length]
        # A power of two, up to which the last batch of a length is filled.
        size = 1 << max(_TOKENS_PER_BATCH // int(length), 1).bit_length() - 1
        starts = range(0, len(rows), size)
        result += [TokenBatch(rows[start : start + size], int(length)) for start in starts]
    return result


def _limits(longest: int) -> list[int]:
    """Lists 8, 16, 24, 32, 48, 64, 96, 128, 192, ... up to a length.

    Each is a program to compile; the coarser they are, the more places are padding.
    """
    limits = [8, 16, 24]
    while limits[-1] < longest:
        limits += [4 * limits[-1] // 3, 2 * limits[-1]]
    return [*(limit for limit in limits if limit < longest), longest]
