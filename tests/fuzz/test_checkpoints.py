"""Damaged checkpoints are refused in one line, or are what transformers makes of them."""

import functools
import json
import random
import types
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.inputs import checkpoint_tokenizer
from lelp_jax.inputs.text_encoding import TextEncoding
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.trunk import Trunk
from lelp_jax.models.tokens import PAD
from tests.fuzz import examples
from tests.helpers import checkpoints
from tests.helpers.damage import damage

pytestmark = pytest.mark.fuzz
TEXTS = ["The film was very good, and funny!", "x", "cleverly made: a plot"]
STRANGE: tuple[Any, ...] = (None, True, False, 0, 1, 2, -1, 0.5, -0.5, 1e400, 10**9, 10**18, 10**40)
STRANGE += ("", "bert", "4", "é\n", [], [1], {}, {"a": 1}, float("nan"), "gelu", "relu")
FILES = ("config.json", "tokenizer.json", "model.safetensors")


@pytest.fixture(scope="module")
def torch_side() -> types.SimpleNamespace:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers
    transformers.logging.set_verbosity(100)
    transformers.logging.disable_progress_bar()
    return types.SimpleNamespace(torch=torch, transformers=transformers)


def list_places(value: Any) -> list[tuple[Any, Any]]:
    """Lists every entry of nested JSON, as what holds it and its key."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], (dict, list)):
            found += list_places(value[key])
    return found


def change(values: Any, choose: random.Random) -> None:
    """Changes an entry of nested JSON in place."""
    holder, key = choose.choice(list_places(values))
    old = holder[key]
    match choose.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(old, (int, float)):
            holder[key] = choose.choice([-old, old + 1, old - 1, 2 * old, 10**12 * old, float(old)])
        case 1 if isinstance(old, str):
            holder[key] = damage(old.encode(), choose).decode("utf-8", "replace")
        case 2 if isinstance(old, (int, float, str)):
            holder[key] = choose.choice([[old], str(old), {"value": old}])
        case _:
            holder[key] = choose.choice(STRANGE)


def damage_json(content: bytes, choose: random.Random) -> bytes:
    values = json.loads(content)
    for _ in range(choose.choice([1, 1, 2])):
        change(values, choose)
    return json.dumps(values).encode()


@functools.lru_cache(maxsize=32)
def forward(architecture: Architecture) -> Any:
    """Returns a program that computes the hidden states of tokens."""
    trunk = Trunk(architecture, "mean")
    return jax.jit(lambda params, tokens: trunk.apply({"params": params}, tokens).hidden)


def compute_theirs(side: types.SimpleNamespace, folder: Path) -> tuple[list[list[int]], list[Any]]:
    """Computes tokens and hidden states of each text with transformers.

    Raises:
        Exception: It cannot load the folder.
    """
    with warnings.catch_warnings(), side.torch.no_grad():
        warnings.simplefilter("ignore")
        tokenizer = side.transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, loading = side.transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
        if loading["missing_keys"] - {"pooler.dense.weight", "pooler.dense.bias"}:
            raise ValueError("random parameters stand in for those that are missing")
        tokens = [tokenizer(text)["input_ids"] for text in TEXTS]
        model.eval()
        outputs = [model(side.torch.tensor([ids])).last_hidden_state[0].numpy() for ids in tokens]
    return tokens, outputs


def test_damaged_checkpoints_are_refused_or_what_transformers_makes_of_them(
    torch_side: types.SimpleNamespace, tmp_path: Path
) -> None:
    folder = checkpoints.write(tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_act": "gelu", "hidden_dropout_prob": 0.1, "pad_token_id": 0}
    config |= {"position_embedding_type": "absolute", "architectures": ["BertModel"]}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    intact = {name: (folder / name).read_bytes() for name in FILES}

    def example(choose: random.Random) -> bool:
        for name, content in intact.items():
            (folder / name).write_bytes(content)
        name = choose.choice(FILES)
        of_json = name != "model.safetensors" and choose.random() < 0.8
        damaged = (damage_json if of_json else damage)(intact[name], choose)
        if name == "model.safetensors" and choose.random() < 0.5:
            # The header is a small part of the file.
            damaged = damage(intact[name][:4000], choose) + intact[name][4000:]
        (folder / name).write_bytes(damaged)
        try:
            with examples.bounded():
                loaded = pretrained.load(str(folder), "config.teacher.checkpoint")
                parameters = loaded.trunk("mean")
                tokenizer = checkpoint_tokenizer.load(loaded, 16).tokenizer
                tokens = TextEncoding(tokenizer, 16)(TEXTS)
        except UserError:
            return False
        if tokens.shape[1] > loaded.architecture.longest:
            # What the view of tokens checks before.
            return False
        padded = np.pad(tokens, ((0, 0), (0, 16 - tokens.shape[1])), constant_values=PAD)
        hidden = np.asarray(forward(loaded.architecture)(parameters, jnp.asarray(padded)))
        ours = [row[: (ids != PAD).sum()] for row, ids in zip(hidden, tokens, strict=True)]
        assert all(np.isfinite(states).all() for states in ours)
        try:
            their_tokens, theirs = compute_theirs(torch_side, folder)
        except (KeyboardInterrupt, SystemExit):
            raise
        # Panics of the tokenizers library included.
        except BaseException:
            return True
        for row, ids in enumerate(their_tokens):
            assert tokens[row][tokens[row] != PAD].tolist() == ids, (TEXTS[row], name)
            # A damaged parameter may be so large that its square is none of float32.
            if not np.isfinite(theirs[row]).all():
                return True
            np.testing.assert_allclose(
                ours[row], theirs[row], atol=1e-4, rtol=1e-4, err_msg=f"{name}: {damaged[:600]!r}"
            )
        return True

    examples.check(example)
