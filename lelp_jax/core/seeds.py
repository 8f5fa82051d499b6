"""Seeds of random choices, derived from one root seed and the name of the choice."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(root: int, *names: str | int) -> int:
    """Derives the 31-bit seed of a named choice.

    Choices with different names are independent. Since a name, not the order of calls, determines
    the seed, adding a choice to the program changes none of the others.

    Args:
        root: The seed of the experiment.
        *names: What the seed is for, for example `("replicate", 3, "transfer")`.
    """
    # 31 bits fit into signed and unsigned 32-bit integers: JAX has no others by default.
    text = json.dumps([int(root), *names]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def hash_words(seed: int, counter: np.ndarray) -> np.ndarray:
    """Computes uniform 64-bit words, a pure function of `(seed, counter)`.

    Uses the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), vectorised. Unlike a
    stateful generator, it computes the words of any position directly and does not depend on the
    NumPy version.

    Args:
        seed: Any non-negative integer.
        counter: Unsigned 64-bit integers of any shape.
    """
    with np.errstate(over="ignore"):
        start = np.uint64(hash_seed(seed))
        word = start + counter.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return word ^ (word >> np.uint64(31))


def hash_seed(seed: int) -> int:
    """Hashes a seed to 64 bits, so that neighbouring seeds give unrelated words."""
    return int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little")


def draw_subset(seed: int, size: int, population: int) -> np.ndarray:
    """Draws `size` of `population` positions without replacement, sorted, [size] int64."""
    # The positions with the smallest words: a smaller subset is part of a larger one, so raising
    # the transfer size adds rows and exchanges none.
    words = hash_words(seed, np.arange(population))
    return np.sort(np.argsort(words, kind="stable")[:size])
