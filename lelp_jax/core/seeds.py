"""Every random choice of a run follows from one root seed and the name of the choice."""

from __future__ import annotations

import hashlib
import json

import numpy as np


def derive(root: int, *names: str | int) -> int:
    """Returns the 31-bit seed of a named choice.

    Choices with different names are independent, and adding a choice changes no other one.

    Args:
        root: The seed of the experiment.
        *names: What the seed is for, for example `("replicate", 3, "transfer")`.
    """
    text = json.dumps([int(root), *names]).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little") >> 1


def hash_words(seed: int, counter: np.ndarray) -> np.ndarray:
    """Returns uniform 64-bit words, a pure function of `(seed, counter)`.

    The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), vectorised: unlike a
    stateful generator it gives the words of any position at once and does not depend on the
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
    """Returns 64 well-mixed bits of a seed, so that neighbouring seeds share nothing."""
    return int.from_bytes(hashlib.blake2b(str(seed).encode(), digest_size=8).digest(), "little")


def subset(seed: int, size: int, population: int) -> np.ndarray:
    """Draws `size` of `population` positions without replacement, sorted, [size] int64."""
    words = hash_words(seed, np.arange(population))
    return np.sort(np.argsort(words, kind="stable")[:size])
