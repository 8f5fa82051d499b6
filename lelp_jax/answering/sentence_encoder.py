"""A sentence-transformers model: embeddings without a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from lelp_jax.answering.classifier import fingerprint
from lelp_jax.answering.model import choose_length
from lelp_jax.core.errors import UserError


class SentenceEncoder:
    """An encoder of sentences; see `model.Answerer` for its attributes.

    It has no output layer: the logits of its answers are a column of zeros, and `head.fit` makes
    the real ones of all embeddings.
    """

    names: tuple[str, ...] = ()

    def __init__(self, name: str, max_length: int, batch_size: int, device: Any):
        """Loads a model.

        Args:
            name: A folder, or a name on the Hugging Face hub.
            max_length: Most tokens of a text; 0 for the model's.
            batch_size: Texts per forward pass.
            device: Where to compute.

        Raises:
            UserError: It cannot be loaded, or cannot see as many tokens.
        """
        from sentence_transformers import SentenceTransformer

        try:
            self._network = SentenceTransformer(name, device=str(device))
        # Each of its modules raises exceptions of its own.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"--model={name} cannot be loaded by sentence-transformers ({reason}); give a "
                "folder that its save_pretrained wrote, or a name on the hub"
            ) from error
        self._network.eval()
        self.fingerprint = fingerprint(self._network, self._network.tokenizer)
        self.max_length = choose_length(max_length, self._network.get_max_seq_length())
        self._network.max_seq_length = self.max_length
        self.batch_size = batch_size
        dims = self._network.get_embedding_dimension()
        assert dims is not None
        self.dims = int(dims)
        self.description = f"sentence encoder on {device}: embeddings of {self.dims} dims"

    def prepare(self, texts: Sequence[str]) -> None:
        """Does nothing: sentence-transformers knows how to use its models."""
        del texts

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text, uncut."""
        tokens = self._network.tokenizer(list(texts), verbose=False)["input_ids"]
        return [len(ids) for ids in tokens]

    def answer(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Computes embeddings [texts, dims], float32, and [texts, 1] zeros for the logits."""
        try:
            embeddings = self._network.encode(
                list(texts), batch_size=len(texts), show_progress_bar=False
            )
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{len(texts)} texts do not fit into the memory of {self._network.device}; give a "
                "smaller --batch_size or --max_length (what was answered before is kept)"
            ) from error
        return np.asarray(embeddings, np.float32), np.zeros((len(texts), 1), np.float32)

    def output_layer(self) -> tuple[np.ndarray, np.ndarray]:
        """Gives a weight of zeros: there is no output layer."""
        return np.zeros((self.dims, 1), np.float32), np.zeros(1, np.float32)
