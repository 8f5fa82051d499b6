"""The order of examples: a pure function of a seed and a step."""

from __future__ import annotations

import functools

import numpy as np

from lelp_jax.core import seeds

# Epochs are drawn in blocks of about this many positions, so that the work is vectorised.
_BLOCK = 1 << 15


def batch_positions(
    seed: int, first_step: int, steps: int, batch_size: int, size: int
) -> np.ndarray:
    """Computes which examples the given steps see.

    The examples form an endless stream of epochs, each a fresh permutation, cut into batches; a
    batch may span two epochs. Whole batches are drawn at once and any step can be asked for, so a
    resumed run continues with the very batch it would have seen.

    Args:
        seed: Seed of the order.
        first_step: The first step wanted, counted from 0.
        steps: How many steps.
        batch_size: Examples per step.
        size: How many examples there are.

    Returns:
        Positions in 0..size-1, [steps, batch_size] int32.
    """
    first, last = first_step * batch_size, (first_step + steps) * batch_size
    epochs_per_block = max(1, _BLOCK // size)
    block_size = epochs_per_block * size
    blocks = range(first // block_size, (last - 1) // block_size + 1)
    stream = np.concatenate([_epochs(seed, block, epochs_per_block, size) for block in blocks])
    start = first - blocks[0] * block_size
    return stream[start : start + steps * batch_size].reshape(steps, batch_size)


@functools.lru_cache(maxsize=64)
def _epochs(seed: int, block: int, epochs: int, size: int) -> np.ndarray:
    """Computes a block of consecutive epochs, each a permutation, [epochs * size] int32."""
    counter = np.arange(block * epochs * size, (block + 1) * epochs * size, dtype=np.uint64)
    words = seeds.hash_words(seed, counter).reshape(epochs, size)
    # Each position takes the place of its word's lowest bits: no ties, and sorting is several times
    # faster than argsort.
    low = np.uint64((1 << (size - 1).bit_length()) - 1)
    words = (words & ~low) | np.arange(size, dtype=np.uint64)
    words.sort(axis=1)
    return (words & low).astype(np.int32).reshape(-1)
