"""Small random PyTorch models of texts in folders, and texts for them."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tests.helpers import checkpoints

# Small models are slower on several threads, which share the cores with other tests.
torch.set_num_threads(1)

GOOD, BAD = checkpoints.WORDS[14:24], checkpoints.WORDS[24:34]
NAMES = {0: "good", 1: "bad"}
_SIZES = {
    "vocab_size": len(checkpoints.SPECIAL) + len(checkpoints.WORDS),
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "pad_token_id": 0,
}
_LONG = {**_SIZES, "intermediate_size": 64, "max_position_embeddings": 40}
_DECODER = {**_LONG, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": None}
_DISTILBERT = {"n_layers": 1, "n_heads": 4, "dim": 32, "hidden_dim": 64}
_XLNET = {"n_layer": 1, "n_head": 4, "d_model": 32, "d_inner": 64}
FAMILIES: Mapping[str, Callable[..., Any]] = {
    "bert": lambda **more: transformers.BertForSequenceClassification(
        transformers.BertConfig(**{**_LONG, **more})
    ),
    # A head of two linear layers.
    "distilbert": lambda **more: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(
            **{**_DISTILBERT, "vocab_size": 46, "max_position_embeddings": 40, **more}
        )
    ),
    # Scores every token, and takes the last that is no padding.
    "llama": lambda **more: transformers.LlamaForSequenceClassification(
        transformers.LlamaConfig(**{**_DECODER, **more})
    ),
    # Looks at the last token, so that padding belongs on the left.
    "xlnet": lambda **more: transformers.XLNetForSequenceClassification(
        transformers.XLNetConfig(**{**_XLNET, "vocab_size": 46, "pad_token_id": 0, **more})
    ),
}


def write(folder: Path, family: str = "bert", *, pad: bool = True, **more: Any) -> Path:
    """Writes a classifier with random weights and its tokenizer, as save_pretrained does.

    Args:
        folder: Where it goes.
        family: One of `FAMILIES`.
        pad: Whether model and tokenizer have a token to pad with.
        **more: Entries of the model's config.

    Returns:
        The folder.
    """
    torch.manual_seed(0)
    model = FAMILIES[family](**more, **({} if pad else {"pad_token_id": None}))
    with torch.no_grad():
        # The usual scale of 0.02 would make all answers alike.
        for values in model.parameters():
            if values.ndim > 1:
                values.mul_(6)
    model.save_pretrained(folder)
    write_tokenizer(folder, pad=pad)
    return folder


def write_tokenizer(folder: Path, *, pad: bool = True) -> None:
    """Writes a tokenizer as save_pretrained does."""
    roles = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=checkpoints.tokenizer(), **roles, **({"pad_token": "[PAD]"} if pad else {})
    ).save_pretrained(folder)


def write_texts(
    path: Path, rows: int, seed: int, labels: tuple[str, str] = ("bad", "good")
) -> Path:
    """Writes a CSV file of texts of different lengths, with ids and labels."""
    random = np.random.default_rng(seed)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text", "label"])
        for number in range(rows):
            label = int(random.integers(2))
            words = random.choice((BAD, GOOD)[label], random.integers(1, 9))
            text = f"the film was {' '.join(words)}"
            writer.writerow([f"{path.stem}-{number}", text, labels[label]])
    return path


def read_column(path: Path, column: str) -> list[str]:
    with open(path, newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def answer_one_by_one(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    """Computes logits [texts, outputs] by transformers, without batches, so without padding."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    accepted = ("input_ids", "attention_mask")
    logits = []
    with torch.no_grad():
        for text in texts:
            encoded = tokenizer(text, return_tensors="pt", **options)
            found = model(**{name: encoded[name] for name in accepted})
            logits.append(found.logits[0].numpy())
    return np.stack(logits)
