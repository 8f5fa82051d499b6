"""Finds a checkpoint: a folder that the user names, or the Hugging Face hub's cache."""

from __future__ import annotations

import functools
import logging
import os.path
import re
from collections.abc import Sequence
from pathlib import Path

from lelp_jax.core.errors import Unavailable, UserError
from lelp_jax.models.pretrained.folder import (
    CONFIG,
    INDEX,
    MODULES,
    SENTENCES,
    TOKENIZER,
    TOKENIZER_CONFIG,
    WEIGHTS,
    log_once,
)

_WANTED = [CONFIG, TOKENIZER, TOKENIZER_CONFIG, "model*.safetensors", INDEX, MODULES, SENTENCES]
_WANTED += [f"*/{CONFIG}"]
_HUB_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def fetch(name: str, place: str, wanted: Sequence[str] = ()) -> Path:
    """Finds the folder of a checkpoint; one of the hub is fetched first where it is missing.

    Args:
        name: A folder, or a name on the hub such as "sentence-transformers/all-MiniLM-L6-v2".
        place: Path of the name in the config, for messages ("config.teacher.checkpoint").
        wanted: The files that are needed; all that is read of a checkpoint where it is empty.

    Raises:
        UserError: It is neither a folder nor a name on the hub.
        Unavailable: The hub cannot be reached, and the checkpoint was not fetched before.
    """
    path = Path(os.path.expanduser(name))
    if name and path.is_dir():
        return path
    if not _HUB_NAME.fullmatch(name):
        raise UserError(
            f"{place}: the folder {name!r} is missing; give an existing folder, or a name on the "
            "Hugging Face hub such as 'sentence-transformers/all-MiniLM-L6-v2'"
        )
    # Takes a while to import, and a folder needs nothing of it.
    import huggingface_hub
    from huggingface_hub import errors

    patterns = [*wanted] or _WANTED
    try:
        cached = Path(
            huggingface_hub.snapshot_download(name, allow_patterns=patterns, local_files_only=True)
        )
        # Some versions call a fetch that was broken off complete.
        if all((cached / file).is_file() for file in wanted or (CONFIG, TOKENIZER)) and (
            wanted or (cached / WEIGHTS).is_file() or (cached / INDEX).is_file()
        ):
            return cached if wanted or (cached / MODULES).is_file() else _complete(name, cached)
    except (OSError, ValueError):
        pass
    hint = (
        f"where the hub can be reached, run `hf download {name} --local-dir DIR`, and give the "
        "folder DIR"
    )
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))
    except errors.RepositoryNotFoundError as error:
        raise UserError(
            f"{place}: {name!r} is neither a folder nor, for all to see, on the Hugging Face hub; "
            "check the spelling, or log in with `hf auth login`"
        ) from error
    except (OSError, ValueError) as error:
        raise Unavailable(
            f"{place}: {name!r} is neither a folder nor could it be fetched from the Hugging Face "
            f"hub ({_reason(error)}); {hint}"
        ) from error


@functools.cache
def _complete(name: str, cached: Path) -> Path:
    """Fetches the small files beside a checkpoint that another program may have left out.

    Without modules.json a checkpoint of sentence-transformers would be taken for one without a
    pooling of its own.

    Args:
        name: The name on the hub.
        cached: Its folder in the hub's cache, which is called as its commit.
    """
    import huggingface_hub

    files = [TOKENIZER_CONFIG, MODULES, SENTENCES, f"*/{CONFIG}"]
    try:
        huggingface_hub.snapshot_download(name, revision=cached.name, allow_patterns=files)
    except (OSError, ValueError) as error:
        said = (
            f"whether {name} has a {MODULES}, which would say its pooling, could not be looked up "
            f"on the Hugging Face hub ({_reason(error)})"
        )
        log_once(logging.WARNING, said)
    return cached


def _reason(error: BaseException) -> str:
    """Takes the first line of an error, or of its cause where there is one."""
    cause = error.__cause__ or error
    lines = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__
