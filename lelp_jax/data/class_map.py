"""Merges labels into fewer classes, as five grades of sentiment into two."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.data.dataset import UNLABELLED

_KEY = "config.data.class_map"
# Stands for a map of every label to the class of its number modulo 2.
_PARITY = "parity"
_WHOLE = re.compile(r"[+-]?\d{1,9}")


@dataclasses.dataclass(frozen=True)
class ClassMap:
    """Which class each label becomes.

    Attributes:
        names: One name per class.
        classes: Class of each label, [labels] int64.
    """

    names: tuple[str, ...]
    classes: np.ndarray

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """Computes the class of each row, [rows] int64, -1 where it has no label.

        Args:
            labels: Label of each row, [rows] integers in 0..labels-1, -1 for none.
        """
        # The last entry is that of -1.
        return np.append(self.classes, UNLABELLED)[labels]


def read(given: Sequence[object], label_names: Sequence[str]) -> ClassMap:
    """Reads a class map.

    Args:
        given: One entry per label, in label order: its class; or texts "LABEL=CLASS" in any order.
            Classes are whole numbers without a gap, or names, which are numbered in sorted order.
            A single "parity" makes the classes "even" and "odd" of the labels' numbers: those that
            they are, or else their positions in label order.
        label_names: One name per label.

    Returns:
        The map. A numbered class is called by its labels' names ("negative/very negative").

    Raises:
        UserError: A label has no class or two, or a class has no label.
    """
    for entry in given:
        if isinstance(entry, bool) or not isinstance(entry, (int, str)):
            raise UserError(f"{_KEY} holds {entry!r}; give a whole number or a name per label")
    entries = [str(entry).strip() for entry in given]
    if entries == [_PARITY]:
        numbers = np.arange(len(label_names))
        if all(_WHOLE.fullmatch(name) for name in label_names):
            numbers = np.array([int(name) for name in label_names])
        return ClassMap(("even", "odd"), numbers % 2)
    if any("=" in entry for entry in entries):
        entries = _by_label(entries, label_names)
    if len(entries) != len(label_names):
        raise UserError(
            f"{_KEY} has {len(entries)} entries, but there are {len(label_names)} labels: "
            f"{', '.join(label_names)}; give one class for each, in this order"
        )
    whole = [bool(_WHOLE.fullmatch(entry)) for entry in entries]
    if any(whole) and not all(whole):
        number, name = entries[whole.index(True)], entries[whole.index(False)]
        raise UserError(f"{_KEY} holds the number {number} and the name {name!r}; use one kind")
    if all(whole):
        classes = np.array([int(entry) for entry in entries], np.int64)
        names = _joined(classes, label_names)
    else:
        names = tuple(sorted(set(entries)))
        if not all(names):
            raise UserError(f"{_KEY} holds an empty name; give every label a class")
        classes = np.array([names.index(entry) for entry in entries], np.int64)
    if len(names) < 2:
        raise UserError(f"{_KEY} makes a single class of all labels; keep at least 2")
    return ClassMap(names, classes)


def _by_label(entries: Sequence[str], label_names: Sequence[str]) -> list[str]:
    """Parses entries "LABEL=CLASS" into classes, in label order."""
    classes: dict[str, str] = {}
    for entry in entries:
        # The last "=": a label's name may hold one.
        label, equals, of_label = (piece.strip() for piece in entry.rpartition("="))
        if not equals:
            raise UserError(f"{_KEY} holds {entry!r} beside entries LABEL=CLASS; use one form")
        if label not in label_names:
            raise make_unknown_name_error(f"label in {_KEY}", label, label_names)
        if label in classes:
            raise UserError(f"{_KEY} gives the label {label!r} two classes; leave one out")
        classes[label] = of_label
    missing = [label for label in label_names if label not in classes]
    if missing:
        raise UserError(f"{_KEY} gives no class to {', '.join(missing)}; add {missing[0]}=CLASS")
    return [classes[label] for label in label_names]


def _joined(classes: np.ndarray, label_names: Sequence[str]) -> tuple[str, ...]:
    """Joins the names of each class's labels."""
    if classes.min() < 0:
        raise UserError(f"{_KEY} holds {classes.min()}; number the classes 0, 1, 2, ...")
    members: list[list[str]] = [[] for _ in range(min(int(classes.max()), len(classes)) + 1)]
    for label, name in enumerate(label_names):
        if classes[label] < len(members):
            members[classes[label]].append(name)
    if not all(members):
        raise UserError(
            f"{_KEY} gives class {members.index([])} no label, but class {classes.max()} one; "
            "number the classes 0, 1, 2, ... without a gap"
        )
    return tuple("/".join(names) for names in members)
