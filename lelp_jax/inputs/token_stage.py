"""The stage that splits the texts of a data set into tokens, once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import artifacts
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs import ragged
from lelp_jax.inputs.base import Inputs
from lelp_jax.inputs.text_encoding import TextEncoding

STAGE = "inputs"
_VERSION = 1


def check(name: str, dataset: Dataset) -> None:
    """Checks that the data are texts.

    Args:
        name: Of the view.
        dataset: The data.

    Raises:
        UserError: They are numbers or images.
    """
    if not dataset.of_texts:
        kind, hint = ("images", "images") if dataset.of_images else ("numbers", "features")
        raise UserError(
            f"inputs {name!r} are made from texts, but the data are {kind}; use {hint!r}"
        )


def ensure(
    root: Path,
    what: Mapping[str, Any],
    encoding: Callable[[], TextEncoding],
    dataset: Dataset,
    session: Session,
) -> Inputs:
    """Makes the tokens of every text, or reads those that were made before.

    Args:
        root: The workdir.
        what: Everything the encoding depends on besides the data, JSON-like.
        encoding: Makes the encoding; not called when the tokens are reused.
        dataset: The data.
        session: The run.

    Raises:
        UserError: A text has no tokens.
        Interrupted: The run was asked to stop.
    """
    session.interrupts.check()
    key = {"version": _VERSION, "data": dataset.digest, **what}

    def build(folder: Path) -> Mapping[str, Any]:
        made = encoding()
        tokens, uncut = made.encode(dataset.inputs)
        notes = [_lengths_note(uncut, made.max_length), _unknown_note(made, tokens, dataset)]
        facts = {
            **made.save(folder),
            "files": ragged.write(folder, tokens),
            "notes": [note for note in notes if note],
        }
        for note in facts["notes"]:
            session.reporter.log(note)
        return facts

    def load(folder: Path, facts: Mapping[str, Any]) -> Inputs:
        tokens = ragged.read(folder, facts["files"], len(dataset.inputs))
        kept = TextEncoding.load(folder, facts)
        return Inputs(tokens.pad(), folder.name, kept, kept.num_tokens, notes=tuple(facts["notes"]))

    return artifacts.run(root, STAGE, key, build, load)


def _lengths_note(uncut: np.ndarray, max_length: int) -> str:
    rows, cut = len(uncut), int((uncut > max_length).sum())
    share = f" ({100 * cut / rows:.1f} %)" if cut else ""
    return (
        f"{cut:,} of {rows:,} texts{share} are cut at {max_length} tokens (median length "
        f"{np.median(uncut):.0f}, longest {uncut.max():,})"
    )


def _unknown_note(encoding: TextEncoding, tokens: ragged.Ragged, dataset: Dataset) -> str:
    """Describes how much of the validation texts is unknown; "" where nothing is."""
    seen = tokens.select_rows(dataset.validation)
    unknown = int((seen == encoding.unknown).sum()) if encoding.unknown is not None else 0
    if not unknown:
        return ""
    return (
        f"{100 * unknown / len(seen):.1f} % of the tokens of validation texts are unknown to the "
        f"vocabulary of {encoding.num_tokens:,}"
    )
