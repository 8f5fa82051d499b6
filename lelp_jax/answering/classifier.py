"""Any `AutoModelForSequenceClassification` of transformers, with its tokenizer."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from lelp_jax.answering import output_layer
from lelp_jax.answering.model import choose_length
from lelp_jax.core.errors import UserError

_LOG = logging.getLogger(__name__)
# Without a limit, transformers gives a very large number.
_NO_LIMIT = 1 << 24
# Answers to padded texts beside those to single ones, relative to the largest logit.
_TOLERANCE = 1e-3


class Classifier:
    """A classifier; see `model.Answerer` for its attributes."""

    def __init__(self, network: Any, tokenizer: Any, max_length: int, batch_size: int, device: Any):
        """Wraps a model whose weights are all there.

        Args:
            network: A transformers model that gives logits.
            tokenizer: Its tokenizer.
            max_length: Most tokens of a text; 0 for the model's.
            batch_size: Texts per forward pass.
            device: Where to compute.

        Raises:
            UserError: The model has a single output, or cannot see as many tokens.
        """
        network.eval()
        config = network.config
        if config.num_labels < 2:
            raise UserError(
                "the model has a single output, which is no classifier of two or more classes; "
                "train it with num_labels=2 or more"
            )
        if config.problem_type == "multi_label_classification":
            _LOG.warning(
                "the model was trained for several labels per text (sigmoids); students will learn "
                "the softmax of its outputs, one label per text"
            )
        self.names = tuple(str(config.id2label[number]) for number in range(config.num_labels))
        self.fingerprint = fingerprint(network, tokenizer)
        self.max_length = choose_length(max_length, _find_limit(network, tokenizer))
        self.batch_size = batch_size
        self._network, self._tokenizer = network.to(device), tokenizer
        self._device = device
        self._accepted = set(inspect.signature(network.forward).parameters)
        self._set_padding()

    def prepare(self, texts: Sequence[str]) -> None:
        """Finds the output layer and how to pad texts, by answering some.

        Args:
            texts: A few texts of different lengths.

        Raises:
            UserError: No linear layer's outputs are the logits.
        """
        batches = [self._encode([text]) for text in texts]
        self.layer = output_layer.find(self._network, lambda: self._forward(batches[0]))
        self.dims = self.layer.linear.in_features
        self.description = (
            f"{type(self._network).__name__} on {self._device}: embeddings of {self.dims} dims "
            f"are what {self.layer.name} sees"
        )
        if self.batch_size > 1:
            self._choose_padding(texts, torch.cat([self._forward(batch) for batch in batches]))

    def _choose_padding(self, texts: Sequence[str], alone: torch.Tensor) -> None:
        """Chooses the side of padding by which a text's answer does not depend on its batch."""
        largest = float(alone.abs().max())
        # On the right, no position changes; a model that looks at the last token needs the left.
        for side in ("right", "left"):
            self._tokenizer.padding_side = side
            together = self._forward(self._encode(texts))
            if float((together - alone).abs().max()) <= _TOLERANCE * (1 + largest):
                return
        _LOG.warning("padding changes the model's answers; texts are answered one by one")
        self.batch_size = 1

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Counts the tokens of each text, uncut.

        Raises:
            UserError: A token is none of the model's.
        """
        tokens = self._tokenizer(list(texts), verbose=False)["input_ids"]
        known = self._network.get_input_embeddings().num_embeddings
        largest = max((max(ids) for ids in tokens if ids), default=0)
        if largest >= known:
            raise UserError(
                f"the tokenizer gives token {largest}, but the model knows {known}; the folder "
                "must hold the tokenizer that the model was trained with"
            )
        return [len(ids) for ids in tokens]

    def answer(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Computes embeddings [texts, dims] and logits [texts, outputs] of a batch, float32."""
        batch = self._encode(texts)
        try:
            embeddings, logits = self.layer.observe(lambda: self._forward(batch))
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{len(texts)} texts do not fit into the memory of {self._device}; give a smaller "
                "--batch_size or --max_length (what was answered before is kept)"
            ) from error
        return embeddings.float().cpu().numpy(), logits.float().cpu().numpy()

    def output_layer(self) -> tuple[np.ndarray, np.ndarray]:
        """Reads weights [dims, outputs] and bias [outputs] of the output layer, float32."""
        return self.layer.weights()

    def _set_padding(self) -> None:
        """Gives model and tokenizer the same token to pad with, or none: then texts go alone."""
        config = self._network.config.get_text_config()
        pad = config.pad_token_id
        if pad is not None and 0 <= pad < len(self._tokenizer):
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(pad)
        elif self._tokenizer.pad_token_id is not None:
            config.pad_token_id = self._tokenizer.pad_token_id
        elif self.batch_size > 1:
            _LOG.warning("the model has no token to pad with; texts are answered one by one")
            self.batch_size = 1

    def _encode(self, texts: Sequence[str]) -> Mapping[str, torch.Tensor]:
        """Splits texts into tokens, padded to the longest one."""
        encoded = self._tokenizer(
            list(texts), truncation=True, max_length=self.max_length, verbose=False
        )
        fields = {name: list(values) for name, values in encoded.items() if name in self._accepted}
        for row, ids in enumerate(fields["input_ids"]):
            if not ids:
                self._replace_empty(fields, row)
        if len(texts) > 1:
            fields = self._tokenizer.pad(fields, return_tensors="pt")
        return {name: torch.as_tensor(values).to(self._device) for name, values in fields.items()}

    def _replace_empty(self, fields: Mapping[str, list], row: int) -> None:
        """Puts a token in the place of a text that has none."""
        tokenizer = self._tokenizer
        known = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
        token = next((token for token in known if token is not None), None)
        if token is None:
            raise UserError(
                "a text has no tokens, and the tokenizer has no token for such texts; write "
                "something there, or remove the row"
            )
        for name, values in fields.items():
            values[row] = [{"input_ids": token, "attention_mask": 1}.get(name, 0)]

    def _forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with torch.inference_mode():
            logits: torch.Tensor = self._network(**batch).logits
        return logits


def load(name: str, max_length: int, batch_size: int, device: Any) -> Classifier:
    """Loads a classifier.

    Args:
        name: A folder, or a name on the Hugging Face hub.
        max_length: Most tokens of a text; 0 for the model's.
        batch_size: Texts per forward pass.
        device: Where to compute.

    Raises:
        UserError: It cannot be loaded, or some of its weights are missing.
    """
    try:
        # Without it, transformers may ask on the terminal whether to run a model's own code.
        own_code = {"trust_remote_code": False}
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, **own_code)
        network, report = transformers.AutoModelForSequenceClassification.from_pretrained(
            name, output_loading_info=True, dtype=torch.float32, **own_code
        )
    # Each family raises exceptions of its own.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--model={name} cannot be loaded as a classifier ({reason}); give a folder that "
            "transformers' save_pretrained wrote, with its tokenizer, or a name on the hub"
        ) from error
    absent = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if absent:
        # transformers would put random numbers there.
        raise UserError(
            f"--model={name} has no weights for {', '.join(absent[:4])}"
            f"{', ...' if len(absent) > 4 else ''}; give a model that was trained as a classifier"
        )
    return Classifier(network, tokenizer, max_length, batch_size, device)


def fingerprint(network: Any, tokenizer: Any) -> str:
    """Hashes all weights of a model, its architecture and its tokenizer."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(type(network).__name__.encode())
    for name, values in sorted(network.state_dict().items()):
        digest.update(f"{name}{values.dtype}{tuple(values.shape)}".encode())
        flat = values.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    config = network.config.to_dict() if hasattr(network, "config") else {}
    # Where and by whom it was saved makes no difference.
    for key in ("_name_or_path", "transformers_version"):
        config.pop(key, None)
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    digest.update(type(tokenizer).__name__.encode())
    if tokenizer.is_fast:
        digest.update(tokenizer.backend_tokenizer.to_str().encode())
    else:
        digest.update(json.dumps(tokenizer.get_vocab(), sort_keys=True).encode())
    return digest.hexdigest()


def _find_limit(network: torch.nn.Module, tokenizer: Any) -> int | None:
    """Finds how many tokens of a text a model can see; None for any number."""
    limits = [tokenizer.model_max_length, getattr(network.config, "max_position_embeddings", None)]
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            # RoBERTa counts positions from the number after its padding token.
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
            limits.append(module.num_embeddings - offset)
    known = [limit for limit in limits if isinstance(limit, int) and 0 < limit < _NO_LIMIT]
    return min(known, default=None)
