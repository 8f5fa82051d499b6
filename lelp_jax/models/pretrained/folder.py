"""The files in a checkpoint's folder, and what is wrong where they cannot be used."""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import Any

from lelp_jax.core.errors import UserError

CONFIG = "config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
MODULES = "modules.json"
SENTENCES = "sentence_bert_config.json"
_LOG = logging.getLogger(__name__)
_POINTER = b"version https://git-lfs.github.com/spec/"


def read_json(path: Path, place: str, kind: type[Any] = dict) -> Any:
    """Reads a JSON file of a checkpoint.

    Args:
        path: The file.
        place: Where the checkpoint was named, for messages.
        kind: What it holds, `dict` for an object or `list` for an array.

    Raises:
        UserError: It is missing, or not JSON of this kind.
    """
    check_content(path, place)
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        below = sorted(path.parent.glob(f"*/{WEIGHTS}"))
        example = f", such as {below[0].parent}" if below else ""
        raise UserError(
            f"{place}: {path} is missing; give the folder of a Hugging Face checkpoint{example}"
        ) from error
    # A file may be nested more deeply than Python can follow.
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{place}: {path} cannot be read ({error}); take an undamaged copy of it"
        ) from error
    if not isinstance(values, kind):
        name = "object" if kind is dict else "array"
        raise UserError(f"{place}: {path} holds no {name}; take an undamaged copy of it")
    return values


def check_content(path: Path, place: str) -> None:
    """Checks that a file was downloaded, where it was cloned with git.

    Args:
        path: The file; it may be missing.
        place: Where the checkpoint was named, for messages.

    Raises:
        UserError: It is what Git LFS keeps in place of the file.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError:
        return
    if start == _POINTER:
        raise UserError(
            f"{place}: {path} is a Git LFS pointer in place of the file; run `git lfs pull` in "
            f"{path.parent}"
        )


@functools.cache
def log_once(level: int, message: str) -> None:
    """Logs a message unless it was logged before: students open their checkpoint many times.

    Args:
        level: Of the logging module.
        message: The message.
    """
    _LOG.log(level, message)


def find_weights(folder: Path, name: str, place: str) -> Path:
    """Finds the file of weights, or the index of several, that transformers would read.

    Args:
        folder: The checkpoint.
        name: What the user called it, for messages.
        place: Where it was named, for messages.

    Returns:
        model.safetensors, or its index where that is missing.

    Raises:
        UserError: There are neither.
    """
    # The single file goes first in transformers, too; shards beside it are of an earlier save.
    for path in (folder / WEIGHTS, folder / INDEX):
        if path.is_file():
            return path
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    if others:
        rest = "" if len(others) < 4 else f" and {len(others) - 3} more"
        raise UserError(
            f"{place}: {folder} has {', '.join(others[:3])}{rest}, but neither {WEIGHTS} nor "
            f"{INDEX}, which says what is in which file; rename a single file to {WEIGHTS}, or "
            "copy the index from where the files are from"
        )
    raise UserError(
        f"{place}: {WEIGHTS} is missing in {folder}, and PyTorch's own files, such as "
        "pytorch_model.bin, are not read; with PyTorch, "
        f"`transformers.AutoModel.from_pretrained({name!r}).save_pretrained(NEW)` writes one into "
        f"the folder NEW, and the same with AutoTokenizer its {TOKENIZER}"
    )
