"""The test rows on which the compared methods disagree, found in the predictions already made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.data.dataset import Dataset
from lelp_jax.report.results import table
from lelp_jax.report.results.markdown import Section

_MOST_LISTED = 12
_MOST_CHARACTERS = 120
_MOST_NAMES = 6


class Answer(NamedTuple):
    """A class that methods answer.

    Attributes:
        label: The class.
        methods: Their names, in the order of the comparison.
    """

    label: int
    methods: tuple[str, ...]


class Disputed(NamedTuple):
    """A test row on which methods disagree.

    Attributes:
        row: Its data-set index.
        answers: What the methods answer, the class of most methods first.
    """

    row: int
    answers: tuple[Answer, ...]


class Disagreement(NamedTuple):
    """Where methods disagree.

    Attributes:
        methods: Number of methods.
        test_rows: Number of test rows.
        disputed: The rows on which they disagree, the most disputed first.
    """

    methods: int
    test_rows: int
    disputed: Sequence[Disputed]


def find_disagreement(index: np.ndarray, predictions: Mapping[str, np.ndarray]) -> Disagreement:
    """Finds the test rows on which methods give different answers.

    A method's answer is the class that most of its replicates give, of equally many the more
    probable one. A row is the more disputed, the more likely two students differ that are drawn at
    random from two different methods.

    Args:
        index: Data-set indices of the test rows, [rows].
        predictions: Class logits by method, [replicates, rows, classes].
    """
    answers = np.empty((len(predictions), len(index)), np.int64)
    total, squares = 0.0, 0.0
    for number, logits in enumerate(predictions.values()):
        choices = np.arange(logits.shape[-1])
        votes = (logits.argmax(axis=-1)[..., None] == choices).mean(axis=0)
        probability = np.exp(metrics.log_softmax(logits)).mean(axis=0)
        # Probabilities, at most 1, break ties between votes, which are whole after the product.
        answers[number] = (np.round(votes * len(logits)) + probability / 2).argmax(axis=-1)
        total = total + votes
        squares = squares + np.square(votes).sum(axis=-1)
    places = np.flatnonzero((answers != answers[:1]).any(axis=0))
    # The votes of two methods agree with probability p q'; their sum over pairs of methods is
    # (|sum of p|^2 - sum of |p|^2) / 2, so the fewest agreements come first.
    agreements = (np.square(total).sum(axis=-1) - squares)[places] if len(places) else places
    order = places[np.argsort(np.round(agreements, 9), kind="stable")]
    disputed = [Disputed(int(index[at]), _group(predictions, answers[:, at])) for at in order]
    return Disagreement(len(predictions), len(index), disputed)


def _group(names: Mapping[str, np.ndarray], answers: np.ndarray) -> tuple[Answer, ...]:
    """Groups methods by their answer, the largest group first."""
    groups: dict[int, list[str]] = {}
    for name, label in zip(names, answers.tolist(), strict=True):
        groups.setdefault(label, []).append(name)
    found = [Answer(label, tuple(methods)) for label, methods in groups.items()]
    return tuple(sorted(found, key=lambda answer: -len(answer.methods)))


def join_names(methods: Sequence[str]) -> str:
    """Joins names of methods, of many the first ones."""
    if len(methods) <= _MOST_NAMES:
        return ", ".join(methods)
    return f"{', '.join(methods[: _MOST_NAMES - 1])} and {len(methods) - _MOST_NAMES + 1} more"


def describe(found: Disagreement, dataset: Dataset) -> Section:
    """Describes how often methods disagree; lists the most disputed rows that are no images."""
    if found.methods < 2:
        return Section("", "")
    count, share = len(found.disputed), len(found.disputed) / found.test_rows
    parts = [
        f"The {found.methods} trained methods give different answers for {count:,} of "
        f"{found.test_rows:,} test rows ({share:z.1%}). The answer of a method is the class that "
        "most of its replicates give.".replace("%)", " %)")
    ]
    if count and not dataset.of_images:
        shown = found.disputed[:_MOST_LISTED]
        parts[0] += f" The {len(shown)} most disputed:" if count > len(shown) else ""
        head = ["row", *["text"] * dataset.of_texts, "class", "answers"]
        rows = [head, ["---"] * len(head), *(_format_row(each, dataset) for each in shown)]
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows))
    return Section("Where methods disagree", "\n\n".join(parts))


def _format_row(disputed: Disputed, dataset: Dataset) -> list[str]:
    row, names = disputed.row, dataset.class_names
    cells = [str(row if dataset.ids is None else dataset.ids[row])]
    if dataset.of_texts:
        text = " ".join(dataset.inputs[row].split())
        cells.append(text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…")
    answers = [f"{names[label]}: {join_names(methods)}" for label, methods in disputed.answers]
    return list(map(table.escape_cell, [*cells, names[dataset.labels[row]], "; ".join(answers)]))
