"""The folder of an exported student as a file format: what is read from it is checked first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import artifacts, files
from lelp_jax.core.errors import Damaged, UserError

FORMAT = 4
PARAMETERS = "parameters.safetensors"
CARD = "student.json"
_KEYS = ("method", "numeric", "model", "num_outputs", "num_tokens", "inputs", "class_names")
_GROUPS = ("params", "statistics", "extra", "constants")
_EXPORT_AGAIN = "copy the folder again, or export the student again with the launch line of its run"


def read_card(folder: Path) -> Mapping[str, Any]:
    """Reads the card of a student, after all files of its folder were checked.

    Raises:
        UserError: The folder is missing or holds no student, one of another format, or a damaged
            one.
    """
    path = folder / CARD
    try:
        card = json.loads(path.read_bytes())
    except files.LOST:
        raise UserError(_explain_absence(folder)) from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); {_EXPORT_AGAIN}") from error
    if not isinstance(card, dict) or "format" not in card:
        raise UserError(f"{path} describes no student of lelp_jax: it has no key 'format'")
    if card["format"] != FORMAT:
        hint = _EXPORT_AGAIN
        if isinstance(card["format"], int) and card["format"] > FORMAT:
            hint = "a newer version of lelp_jax wrote it; install that one"
        raise UserError(
            f"{path} is of format {card['format']!r}, but this version reads {FORMAT}; {hint}"
        )
    missing = [key for key in _KEYS if key not in card]
    if missing:
        raise UserError(f"{path} has no key {missing[0]!r}; {_EXPORT_AGAIN}")
    try:
        artifacts.check_copy(folder)
    except Damaged as damage:
        raise UserError(f"{damage.problem}; {_EXPORT_AGAIN}") from damage
    return card


def read_arrays(folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Reads the arrays of a student.

    Returns:
        "params", "statistics", "extra" and "constants": the arrays of each by name.

    Raises:
        UserError: The file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / PARAMETERS
    if not path.is_file():
        raise UserError(f"{path} is missing; {_EXPORT_AGAIN}")
    try:
        stored = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); {_EXPORT_AGAIN}") from error
    groups: dict[str, dict[str, np.ndarray]] = {name: {} for name in _GROUPS}
    for name, array in stored.items():
        group, _, rest = name.partition(".")
        if group not in groups:
            raise UserError(f"{path} holds {name!r}, which is no array of a student")
        groups[group][rest] = array
    return groups


def _explain_absence(folder: Path) -> str:
    """Says why a folder holds no student, and where one is."""
    place = f"{folder / CARD} is missing"
    if not folder.is_dir():
        place = f"the folder {folder} is missing"
    # Of a path with a placeholder, or one that stops at the workdir or at its exports.
    for near in (folder, folder / "exports", folder.parent):
        found = sorted(path.parent for path in near.glob(f"*/{CARD}"))
        if found:
            return (
                f"{place}; {near} has {len(found)} students, such as {found[0].name}: "
                "results.jsonl of the run says which is which (key 'student')"
            )
    return f"{place}; give the folder of a student that a run exported (WORKDIR/exports/...)"
