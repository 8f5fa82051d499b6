"""Small random Hugging Face checkpoints, written without PyTorch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.models.pretrained import configuration, families, names

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
_TEXT = """
    a the it is was not very so and but film plot cast music scene ending
    good great fine fun warm clever moving funny bright fresh
    bad poor dull slow cold flat weak silly noisy stale
    ##ly ##er ##s . , !
"""
WORDS = tuple(_TEXT.split())
_FACTS: Mapping[str, Mapping[str, Any]] = {
    "bert": {"type_vocab_size": 2, "layer_norm_eps": 1e-12},
    "roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "distilbert": {},
    "albert": {"type_vocab_size": 2, "embedding_size": 16, "hidden_act": "gelu_new"},
    "deberta": {
        "relative_attention": True,
        "position_biased_input": False,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "pos_att_type": "p2c|c2p",
        "position_buckets": 16,
    },
    "electra": {"type_vocab_size": 2, "embedding_size": 16},
    "modernbert": {"local_attention": 8, "global_attn_every_n_layers": 2},
    "mpnet": {},
}
FAMILIES = tuple(_FACTS)
# Their tensors are written as they are read; the others' names are spelt out below.
_AS_READ = ("deberta", "electra", "modernbert", "mpnet")
_SHORT = {"hidden_size": "dim", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads"}
_SHORT["intermediate_size"] = "hidden_dim"


def write(
    folder: Path,
    family: str = "bert",
    seed: int = 0,
    *,
    words: Sequence[str] = WORDS,
    prefix: str = "",
    **sizes: Any,
) -> Path:
    """Writes config.json, model.safetensors and tokenizer.json.

    Args:
        folder: Made where it is not there.
        family: One of `FAMILIES`.
        seed: Of the random parameters.
        words: What the tokenizer knows besides the special tokens; pieces begin with "##".
        prefix: In front of every tensor's name, such as "bert.".
        **sizes: Entries of config.json under BERT's names, over the defaults.

    Returns:
        The folder.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer(words).save(str(folder / "tokenizer.json"))
    config = {
        "model_type": family,
        "vocab_size": len(SPECIAL) + len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
        **_FACTS[family],
        **sizes,
    }
    written = dict(config)
    if family == "deberta":
        written["model_type"] = "deberta-v2"
    if family == "distilbert":
        written = {_SHORT.get(key, key): value for key, value in config.items()}
    (folder / "config.json").write_text(json.dumps(written))
    if family in _AS_READ:
        tensors = _tensors_as_read(folder, family, seed)
    else:
        tensors = random_tensors(config, seed)
    tensors = {prefix + name: array for name, array in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _tensors_as_read(folder: Path, family: str, seed: int) -> dict[str, np.ndarray]:
    """Returns the tensors that are read of an encoder without a head for classification."""
    random = np.random.default_rng(seed)
    pooler = next((p for p in families.BY_NAME[family].poolers if not p.in_head), None)
    architecture = configuration.read(folder, "", family, "")
    if pooler:
        architecture = configuration.add_pooler(architecture, pooler, folder, "")
    tensors = {}
    for parameter in names.parameters(architecture, pooler):
        *outer, width = parameter.shape
        shape = (*outer, width // len(parameter.tensors))
        about = 1.0 if parameter.path[-1] == "scale" else 0.0
        for name in parameter.tensors:
            array = (about + 0.2 * random.normal(size=shape)).astype(np.float32)
            tensors[name] = np.ascontiguousarray(array.T if parameter.transposed else array)
    return tensors


def random_tensors(config: Mapping[str, Any], seed: int) -> dict[str, np.ndarray]:
    """Returns all tensors of an encoder under the names that transformers gives them."""
    random = np.random.default_rng(seed)
    family, dims = config["model_type"], config["hidden_size"]
    hidden, narrow = config["intermediate_size"], config.get("embedding_size", dims)
    tensors: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int, about: float = 0.0, scale: float = 0.2) -> None:
        tensors[name] = (about + scale * random.normal(size=shape)).astype(np.float32)

    def dense(name: str, outputs: int, inputs: int) -> None:
        add(f"{name}.weight", outputs, inputs)
        add(f"{name}.bias", outputs)

    def norm(name: str, width: int) -> None:
        add(f"{name}.weight", width, about=1.0)
        add(f"{name}.bias", width)

    tables = {
        "word": config["vocab_size"],
        "position": config["max_position_embeddings"],
        "token_type": config.get("type_vocab_size", 0),
    }
    for name, rows in tables.items():
        if rows:
            add(f"embeddings.{name}_embeddings.weight", rows, narrow, scale=1.0)
    norm("embeddings.LayerNorm", narrow)
    if family == "albert":
        dense("encoder.embedding_hidden_mapping_in", dims, narrow)
        blocks = [
            f"encoder.albert_layer_groups.{group}.albert_layers.{inner}"
            for group in range(config.get("num_hidden_groups", 1))
            for inner in range(config.get("inner_group_num", 1))
        ]
        attention, norms = ("query", "key", "value", "dense"), ("attention.LayerNorm",)
        feed_forward = ("ffn", "ffn_output", "full_layer_layer_norm")
    elif family == "distilbert":
        blocks = [f"transformer.layer.{n}" for n in range(config["num_hidden_layers"])]
        attention, norms = ("q_lin", "k_lin", "v_lin", "out_lin"), ("sa_layer_norm",)
        feed_forward = ("ffn.lin1", "ffn.lin2", "output_layer_norm")
    else:
        blocks = [f"encoder.layer.{n}" for n in range(config["num_hidden_layers"])]
        attention = ("self.query", "self.key", "self.value", "output.dense")
        norms = ("attention.output.LayerNorm",)
        feed_forward = ("intermediate.dense", "output.dense", "output.LayerNorm")
    for block in blocks:
        for name in attention:
            dense(f"{block}.attention.{name}", dims, dims)
        dense(f"{block}.{feed_forward[0]}", hidden, dims)
        dense(f"{block}.{feed_forward[1]}", dims, hidden)
        for name in (*norms, feed_forward[2]):
            norm(f"{block}.{name}", dims)
    if family != "distilbert":
        dense("pooler" if family == "albert" else "pooler.dense", dims, dims)
    return tensors


def tokenizer(words: Sequence[str] = WORDS) -> Any:
    """Returns a tokenizer of lower-case word pieces, with BERT's frame around every text."""
    import tokenizers
    from tokenizers import models, normalizers, pre_tokenizers, processors

    numbers = {word: number for number, word in enumerate((*SPECIAL, *words))}
    result = tokenizers.Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    result.normalizer = normalizers.BertNormalizer(lowercase=True)
    result.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    result.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, numbers[name]) for name in ("[CLS]", "[SEP]")],
    )
    result.add_special_tokens(list(SPECIAL))
    return result
