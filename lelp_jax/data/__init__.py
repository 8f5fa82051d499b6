"""Data sources by name, and the one way from a source to a split, preprocessed data set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from lelp_jax.data import arrays, digits, table
from lelp_jax.data.dataset import (
    UNLABELLED,
    Dataset,
    Parts,
    Rows,
    check_classes,
    check_rows,
)
from lelp_jax.errors import UserError


class Source(Protocol):
    """Where rows come from; its fields are the settings of that source."""

    def parts(self) -> Parts:
        """Reads the rows."""
        ...


SOURCES: Mapping[str, type] = {
    "digits": digits.Digits,
    "arrays": arrays.Arrays,
    "table": table.Table,
}


@dataclasses.dataclass(frozen=True)
class Split:
    """How rows are divided where a source has no splits of its own.

    Attributes:
        fractions: Shares of training, validation and test rows; they sum to 1.
        seed: Seed of the division alone, so that it stays fixed while `config.seed` changes.
    """

    fractions: tuple[float, float, float]
    seed: int


def load(source: Source, split: Split) -> Dataset:
    """Reads, checks, splits and preprocesses the rows of a source.

    Splits are stratified by fine label, or by label where there are no fine ones. The
    preprocessing is fitted on training rows alone.

    Raises:
        UserError: The rows cannot be used; the message names the place.
    """
    parts = source.parts()
    pieces: dict[str, Rows] = {"train": parts.train}
    if parts.validation is not None:
        pieces["validation"] = parts.validation
    if parts.test is not None:
        pieces["test"] = parts.test
    for name, rows in pieces.items():
        check_rows(rows, name, len(parts.class_names), len(parts.fine_names))
        if rows.fine_labels is None and parts.fine_names:
            raise UserError(f"the {name} rows have no fine labels, but the training rows do")
    inputs = np.concatenate([rows.inputs for rows in pieces.values()])
    labels = np.concatenate([rows.labels for rows in pieces.values()])
    fine_labels = (
        np.concatenate([rows.fine_labels for rows in pieces.values()]) if parts.fine_names else None
    )
    ends = np.cumsum([len(rows.inputs) for rows in pieces.values()])
    indices = {
        name: np.arange(end - len(rows.inputs), end)
        for (name, rows), end in zip(pieces.items(), ends, strict=True)
    }
    strata = labels if fine_labels is None else labels * len(parts.fine_names) + fine_labels
    _, validation_share, test_share = split.fractions
    rest = 1.0
    for name, share in (("test", test_share), ("validation", validation_share)):
        if name not in indices:
            indices["train"], indices[name] = _split_off(
                indices["train"], labels, strata, share / rest, name, split.seed
            )
            rest -= share
    preprocessing = parts.preprocess(inputs[indices["train"]])
    dataset = Dataset(
        inputs=preprocessing(inputs),
        labels=labels,
        fine_labels=fine_labels,
        train=indices["train"],
        validation=indices["validation"],
        test=indices["test"],
        class_names=parts.class_names,
        fine_names=parts.fine_names,
        preprocessing=preprocessing,
    )
    check_classes(dataset)
    return dataset


def _split_off(
    rows: np.ndarray, labels: np.ndarray, strata: np.ndarray, share: float, name: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Divides labelled rows; unlabelled ones all stay with the training rows."""
    from sklearn.model_selection import train_test_split

    labelled = rows[labels[rows] != UNLABELLED]
    try:
        _, taken = train_test_split(
            labelled, test_size=share, random_state=seed, stratify=strata[labelled]
        )
    except ValueError as error:
        raise UserError(
            f"the {name} rows cannot be split off the {len(labelled)} labelled training rows: "
            f"{' '.join(str(error).split())}; give config.data.{name} or more rows"
        ) from error
    return np.setdiff1d(rows, taken), np.sort(taken)
