"""A small bank, and a teacher who remembers what it was asked."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lelp_jax.bank import store
from lelp_jax.bank.store import Bank
from lelp_jax.core.errors import UserError

ROWS, CHUNK, DIMS, CLASSES = 61, 8, 5, 3
OF = {"teacher": "t", "data": "d"}
random = np.random.default_rng(0)
LOGITS = random.normal(size=(80, CLASSES)).astype(np.float32)
EMBEDDINGS = random.normal(size=(80, DIMS)).astype(np.float32)
WEIGHTS = random.normal(size=(DIMS, CLASSES)).astype(np.float32)
# Some rows of the data are not in the bank.
INDEX = np.sort(random.permutation(80)[:ROWS])


class Asked:
    """Answers for rows, and remembers which were asked for."""

    def __init__(self, stop_after: int | None = None, scale: float = 1.0):
        self.requests: list[np.ndarray] = []
        self._left, self._scale = stop_after, scale

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._left is not None and len(self.requests) == self._left:
            raise KeyboardInterrupt
        self.requests.append(rows)
        return np.float32(self._scale) * LOGITS[rows], EMBEDDINGS[rows]


def write(
    location: Any,
    answers: Callable[..., Any] | None = None,
    of: dict[str, str] = OF,
    index: np.ndarray = INDEX,
    dtype: str = "float32",
    check: Callable[[], None] = lambda: None,
) -> None:
    contents = store.Contents(
        of, index, answers or Asked(), lambda: WEIGHTS, (CLASSES, DIMS), dtype
    )
    store.write(str(location), contents, check)


def read(location: Any, of: dict[str, str] = OF, index: np.ndarray = INDEX) -> Bank:
    return store.read(str(location), "name", of, index)


def holds_everything(bank: Bank) -> None:
    np.testing.assert_array_equal(bank.index, INDEX)
    np.testing.assert_array_equal(bank.logits, LOGITS[INDEX])
    np.testing.assert_array_equal(bank.embeddings, EMBEDDINGS[INDEX])
    np.testing.assert_array_equal(bank.output_weights, WEIGHTS)


def one_line(error: pytest.ExceptionInfo[UserError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    for word in words:
        assert word in text
