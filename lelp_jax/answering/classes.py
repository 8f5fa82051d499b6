"""Which output of a model is which class of the data.

A model and the data may number the same classes in different ways. Names tell: the outputs are then
put into the data's order. Where names say nothing, the labels have to agree with the answers.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data import class_order

# What transformers calls the outputs of a model whose author gave them no names.
_NO_NAME = re.compile(r"LABEL_\d+")
_HINT = "say which class each output is with --label_names=NAME,NAME,... in the model's order"


@dataclasses.dataclass(frozen=True)
class Matching:
    """Which output is which class.

    Attributes:
        outputs: The output of each class, [classes] integers.
        names: One name per class, as the file holds them; empty where there is none.
        by_name: Whether names told, so that nothing was assumed.
        note: What to tell the user.
    """

    outputs: np.ndarray
    names: tuple[str, ...]
    by_name: bool
    note: str


def match(
    model_names: Sequence[str],
    given: Sequence[str],
    class_names: Sequence[str],
    named: bool,
) -> Matching:
    """Finds the output of every class.

    Args:
        model_names: The model's name of each output, [outputs].
        given: The user's name of each output; empty takes the model's.
        class_names: The data's name of each class; empty if it has no labels.
        named: Whether these are names, not numbers.

    Raises:
        UserError: The numbers of classes differ, or names match in part or not at all.
    """
    count = len(model_names)
    if given and len(given) != count:
        raise UserError(
            f"--label_names has {len(given)} names, but the model has {count} outputs "
            f"({', '.join(model_names)}); give one for each"
        )
    if class_names and len(class_names) > count:
        raise UserError(
            f"the model has {count} outputs ({', '.join(model_names)}), the data "
            f"{len(class_names)} classes ({', '.join(class_names)}); give a model of these classes"
        )
    names = tuple(given or model_names)
    known = bool(given) or not all(_NO_NAME.fullmatch(name) for name in names)
    if not class_names:
        return Matching(
            np.arange(count),
            names if known else (),
            by_name=known,
            note="the data have no labels to compare with; the classes are in the model's order"
            + (f": {list_classes(names)}" if known else ""),
        )
    missing = count - len(class_names)
    if missing and not named:
        # Numbers up to the largest that occurs; the data may well have no row of the last class.
        class_names = tuple(str(number) for number in range(count))
    if known:
        found = _match_names(names, class_names, named)
    elif len(class_names) < count:
        raise _make_error(names, class_names)
    else:
        found = Matching(
            np.arange(count),
            tuple(class_names) if named else (),
            by_name=False,
            note="the model has no names for its outputs; they are taken in the data's order: "
            f"{list_classes(class_names)}",
        )
    if missing:
        note = f"{found.note}; no label is above {count - missing - 1}, so give the run"
        found = dataclasses.replace(found, note=f"{note} --config.data.num_classes={count}")
    return found


def _match_names(names: Sequence[str], class_names: Sequence[str], named: bool) -> Matching:
    of_outputs = [_normalize(name) for name in names]
    of_classes = [_normalize(name) for name in class_names]
    if sorted(of_outputs) == sorted(of_classes) and len(set(of_classes)) == len(of_classes):
        outputs = np.array([of_outputs.index(name) for name in of_classes])
        same = np.array_equal(outputs, np.arange(len(outputs)))
        return Matching(
            outputs,
            tuple(class_names),
            by_name=True,
            note=f"the classes by name: {list_classes(class_names)}"
            + ("" if same else f"; the model's outputs ({', '.join(names)}) are put in this order"),
        )
    if named or set(of_outputs) & set(of_classes):
        raise _make_error(names, class_names)
    # Numbers beside names: nothing but the order relates them.
    return Matching(
        np.arange(len(names)),
        tuple(names),
        by_name=False,
        note=f"the data number the classes, so the model's names are taken in their order: "
        f"{list_classes(names)}",
    )


def _make_error(names: Sequence[str], class_names: Sequence[str]) -> UserError:
    return UserError(
        f"the model's outputs are called {', '.join(names)}, the data's classes "
        f"{', '.join(class_names)}; {_HINT}"
    )


def _normalize(name: str) -> str:
    return name.strip().casefold()


def list_classes(names: Sequence[str]) -> str:
    """Formats which class has which name."""
    return ", ".join(f"{number} is {name!r}" for number, name in enumerate(names))


def check_agreement(matching: Matching, predicted: np.ndarray, labels: np.ndarray) -> float | None:
    """Computes the share of the labelled rows on which the model gives the label.

    Args:
        matching: Which output is which class.
        predicted: The class that the model prefers, [rows].
        labels: Class of each row, [rows]; -1 where unknown.

    Returns:
        The share; None without a labelled row.

    Raises:
        UserError: No names told the classes, and the model is much better with its outputs in
            another order.
    """
    found = class_order.compare_orders(predicted, labels, len(matching.outputs))
    if found is None:
        return None
    if found.contradicted and not matching.by_name:
        raise UserError(f"the model gives {found.describe()}; {_HINT}")
    return found.right
