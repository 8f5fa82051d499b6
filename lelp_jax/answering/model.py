"""What answers texts, whatever it is made of, and how all texts are taken through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from lelp_jax.core.errors import UserError

# Tokens of a text where neither the user nor the model sets a limit.
DEFAULT_LENGTH = 512
# Texts whose tokens are counted at once; bounds the memory that the tokenizer takes.
_TEXTS_AT_ONCE = 4096


class Answerer(Protocol):
    """A model that answers texts.

    Attributes:
        fingerprint: Hash of its weights and its tokenizer.
        dims: Width of the embeddings.
        names: Its name of each output; empty if it has no output layer.
        max_length: Most tokens of a text that it sees.
        batch_size: Texts per forward pass.
        description: What it is, for the log.
    """

    fingerprint: str
    dims: int
    names: tuple[str, ...]
    max_length: int
    batch_size: int
    description: str

    def prepare(self, texts: Sequence[str]) -> None:
        """Finds out how to use the model by answering a few texts of different lengths."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text, uncut."""
        ...

    def answer(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Computes embeddings [texts, dims] and logits [texts, outputs] of a batch, float32."""
        ...

    def output_layer(self) -> tuple[np.ndarray, np.ndarray]:
        """Reads weights [dims, outputs] and bias [outputs] of the output layer, float32."""
        ...


def count_tokens(model: Answerer, texts: Sequence[str]) -> np.ndarray:
    """Counts the tokens of every text, uncut, [texts] integers."""
    counts: list[int] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        counts += model.count_tokens(texts[start : start + _TEXTS_AT_ONCE])
    return np.asarray(counts)


def answer_all(
    model: Answerer,
    texts: Sequence[str],
    lengths: np.ndarray,
    advance: Callable[[int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Answers texts in batches of about the same length.

    Args:
        model: The model.
        texts: [rows].
        lengths: Number of tokens of each, [rows].
        advance: Called with the number of texts that were answered, after each batch.

    Returns:
        Embeddings [rows, dims] and logits [rows, outputs], float32, in the order of the texts.
    """
    # The longest first: if they do not fit into memory, it shows at once.
    order = np.argsort(-np.minimum(lengths, model.max_length), kind="stable")
    results: list[np.ndarray] = []
    for start in range(0, len(texts), model.batch_size):
        rows = order[start : start + model.batch_size]
        for number, values in enumerate(model.answer([texts[row] for row in rows])):
            if not start:
                results.append(np.empty((len(texts), values.shape[1]), np.float32))
            results[number][rows] = values
        advance(len(rows))
    embeddings, logits = results
    return embeddings, logits


def choose_length(wanted: int, limit: int | None) -> int:
    """Chooses the most tokens of a text.

    Args:
        wanted: What the user asked for; 0 for nothing.
        limit: What the model can see; None for any number.

    Raises:
        UserError: More is asked for than the model can see.
    """
    if limit is not None and wanted > limit:
        raise UserError(
            f"--max_length={wanted}: the model sees at most {limit} tokens; give no more"
        )
    return wanted or min(limit or DEFAULT_LENGTH, DEFAULT_LENGTH)
