"""How a sentence-transformers checkpoint makes one vector of the hidden states of a text."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lelp_jax.core.errors import UserError
from lelp_jax.models.encoder.trunk import Pooling
from lelp_jax.models.pretrained.folder import CONFIG, MODULES, log_once, read_json

# "auto" is what the checkpoint itself says; see `choose`.
PoolingChoice = Literal["auto", "mean", "cls", "pooler"]
_FLAG = "pooling_mode_"
_MODES: Mapping[str, Pooling] = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "cls",
    "cls_token": "cls",
}
# What has no parameters, or is read as the encoder; others are said to be left out.
_KNOWN_MODULES = ("Transformer", "Pooling", "Normalize")


def choose(wanted: PoolingChoice, folder: Path, place: str) -> Pooling:
    """Chooses the pooling of a checkpoint.

    Args:
        wanted: What the config asks for; "auto" takes that of a sentence-transformers checkpoint,
            and "mean" for others.
        folder: The checkpoint.
        place: Where it was named, for messages.

    Raises:
        UserError: The checkpoint's own pooling is asked for, but is another one.
    """
    if wanted != "auto" or not (folder / MODULES).is_file():
        return "mean" if wanted == "auto" else wanted
    modules = _read_modules(folder / MODULES, place)
    if "Pooling" not in modules:
        return "mean"
    file = folder / modules["Pooling"] / CONFIG
    if not file.is_file():
        raise UserError(
            f"{place}: {file} is missing, which {MODULES} names for the pooling; copy it from "
            "where the checkpoint is from, or set pooling to 'mean' or 'cls'"
        )
    modes = _read_modes(read_json(file, place))
    if len(modes) != 1 or modes[0] not in _MODES:
        raise UserError(
            f"{place}: {file} asks for the pooling {' and '.join(modes) or '(none)'}, of which "
            "there are 'mean' and 'cls' here; set pooling to one of them"
        )
    pooling = _MODES[modes[0]]
    log_once(logging.INFO, f"pooling is {pooling!r}, as {file} says")
    others = [name for name in modules if name not in _KNOWN_MODULES]
    if others:
        said = f"{folder / MODULES} lists {' and '.join(others)}, which is not applied"
        log_once(logging.WARNING, said)
    return pooling


def _read_modules(path: Path, place: str) -> dict[str, str]:
    """Reads the folder of each module, by the name of its class."""
    modules = read_json(path, place, list)
    if not all(isinstance(module, dict) for module in modules):
        raise UserError(f"{place}: {path} holds no modules; take an undamaged copy of it")
    return {
        str(module.get("type")).rpartition(".")[2]: str(module.get("path", ""))
        for module in modules
    }


def _read_modes(values: Mapping[str, Any]) -> list[str]:
    """Lists the poolings that a config names, in its older form of flags or the newer one."""
    named = values.get("pooling_mode")
    if named is None:
        return [key.removeprefix(_FLAG) for key in values if key.startswith(_FLAG) and values[key]]
    return [str(mode) for mode in (named if isinstance(named, list) else [named])]
