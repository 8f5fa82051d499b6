"""Trees of arrays: a part of each leaf, and what two of them agree in."""

from typing import Any

import jax
import numpy as np


def select(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def assert_equal(first: Any, second: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, first, second)


def assert_close(first: Any, second: Any, tolerance: float = 1e-6) -> None:
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), first, second
    )
