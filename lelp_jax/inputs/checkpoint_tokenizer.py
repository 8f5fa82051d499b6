"""The tokenizer of a checkpoint, from files that may contradict each other.

tokenizer.json holds the whole tokenizer. The tokenizer_config.json beside it says some of that
again, and transformers lets it overrule a part; sentence-transformers adds a file of its own. What
these do in all of their versions is done here, too, and noted; other contradictions are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tokenizers import Tokenizer, normalizers

from lelp_jax.core.errors import UserError
from lelp_jax.inputs.text_encoding import read_tokenizer
from lelp_jax.models.pretrained import Pretrained
from lelp_jax.models.pretrained.folder import SENTENCES, TOKENIZER_CONFIG, read_json

# Keys of tokenizer_config.json, and what BERT's normalizer in tokenizer.json calls them.
_BERT_KEYS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}
# Whose tokenizers lower-case as do_lower_case says in some versions of transformers, and as
# tokenizer.json says in others. Those of further families do not know the key.
_UNSETTLED = ("albert", "deberta")
# Classes of transformers that take tokenizer.json as it is.
_AS_STORED = ("PreTrainedTokenizerFast", "TokenizersBackend")


class CheckpointTokenizer(NamedTuple):
    """A tokenizer, and how it differs from its file.

    Attributes:
        tokenizer: The tokenizer.
        overruled: Settings of its normalizer that another file overrules.
        notes: What a user should know of it.
    """

    tokenizer: Tokenizer
    overruled: Mapping[str, Any]
    notes: tuple[str, ...]


def load(checkpoint: Pretrained, max_length: int) -> CheckpointTokenizer:
    """Reads the tokenizer of a checkpoint.

    Args:
        checkpoint: The checkpoint.
        max_length: How many tokens of a text are kept at most.

    Raises:
        UserError: A file is missing or damaged, both contradict each other, or there are more
            tokens than the checkpoint embeds.
    """
    path, architecture = checkpoint.tokenizer_file, checkpoint.architecture
    hint = (
        "download it again, or write one with "
        f"`transformers.AutoTokenizer.from_pretrained({str(path.parent)!r}).save_pretrained(DIR)`"
    )
    tokenizer = read_tokenizer(path, hint)
    # Padding, which some files ask for, is none of the tokens around a text.
    tokenizer.no_padding()
    tokenizer.no_truncation()
    largest = max(tokenizer.get_vocab().values())
    if largest >= architecture.num_tokens:
        raise UserError(
            f"{path} has {largest + 1} tokens, but the checkpoint beside it embeds "
            f"{architecture.num_tokens}; replace it by the tokenizer that it was trained with"
        )
    other, sentences = path.with_name(TOKENIZER_CONFIG), path.with_name(SENTENCES)
    config, sentence_config = (
        read_json(file, checkpoint.place) if file.is_file() else {} for file in (other, sentences)
    )
    parts = json.loads(tokenizer.to_str())
    for key, ours, theirs in _find_contradictions(config, tokenizer, parts, architecture.family):
        raise UserError(
            f"{checkpoint.place}: {other} has {key} {theirs!r}, but {path} {ours!r}; take both "
            "files from one checkpoint, or correct the wrong one"
        )
    notes = [
        f"texts keep up to {max_length} tokens, as config.data.max_length says, more than the "
        f"{values[key]} of {key} in {file}"
        for values, key, file in (
            (config, "model_max_length", other),
            (sentence_config, "max_seq_length", sentences),
        )
        # Where nothing is known, transformers writes a number of thirty digits.
        if isinstance(values.get(key), int) and values[key] < max_length
    ]
    if _content(config.get("cls_token")) is not None and not tokenizer.encode("").ids:
        notes.append(
            f"{path} puts no tokens around a text, although {other} has cls_token "
            f"{_content(config['cls_token'])!r}"
        )
    overruled = _overrule(tokenizer, config, parts)
    keys = [key for key, name in _BERT_KEYS.items() if name in overruled]
    if keys:
        said = " and ".join(f"{key} {config[key]!r}" for key in keys)
        notes.append(f"{other} has {said}, which overrules {path}, as in transformers")
    if sentence_config.get("do_lower_case") is True and not _lowercases(tokenizer):
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        overruled["lowercased_first"] = True
        notes.append(f"texts are lower-cased before they are split, as {sentences} says")
    return CheckpointTokenizer(tokenizer, overruled, tuple(notes))


def _overrule(
    tokenizer: Tokenizer, config: Mapping[str, Any], parts: Mapping[str, Any]
) -> dict[str, Any]:
    """Gives BERT's normalizer the settings of tokenizer_config.json; returns those that differ."""
    normalizer = parts["normalizer"] or {}
    if normalizer.get("type") != "BertNormalizer" or config.get("tokenizer_class") in _AS_STORED:
        return {}
    settings = {name: normalizer[name] for name in ("clean_text", *_BERT_KEYS.values())}
    changed = {
        name: config[key]
        for key, name in _BERT_KEYS.items()
        if key in config
        and config[key] != settings[name]
        and (isinstance(config[key], bool) or (key == "strip_accents" and config[key] is None))
    }
    if changed:
        tokenizer.normalizer = normalizers.BertNormalizer(**{**settings, **changed})
    return changed


def _find_contradictions(
    config: Mapping[str, Any], tokenizer: Tokenizer, parts: Mapping[str, Any], family: str
) -> Iterator[tuple[str, Any, Any]]:
    """Yields key, value of tokenizer.json and value of tokenizer_config.json where they differ."""
    lower = config.get("do_lower_case")
    if family in _UNSETTLED and isinstance(lower, bool) and lower != _lowercases(tokenizer):
        yield "do_lower_case", _lowercases(tokenizer), lower
    unknown = parts["model"].get("unk_token")
    if unknown is not None and _content(config.get("unk_token")) not in (None, unknown):
        yield "unk_token", unknown, _content(config["unk_token"])
    frame = tokenizer.encode("").tokens
    for key, index in (("cls_token", 0), ("sep_token", -1)):
        wanted = _content(config.get(key))
        if wanted is not None and frame and frame[index] != wanted:
            yield key, frame[index], wanted
    added = config.get("added_tokens_decoder")
    for number, token in added.items() if isinstance(added, Mapping) else ():
        ours = tokenizer.token_to_id(str(_content(token)))
        if ours is not None and str(ours) != number:
            yield f"{_content(token)!r} in added_tokens_decoder as", str(ours), number


def _lowercases(tokenizer: Tokenizer) -> bool:
    """Tells whether a tokenizer lower-cases, which may be one of several steps."""
    normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
    return any(
        part.get("type") == "Lowercase" or part.get("lowercase") is True
        for part in (normalizer, *normalizer.get("normalizers", ()))
    )


def _content(token: Any) -> str | None:
    """Returns the text of a special token, which may be written with its settings."""
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else None
