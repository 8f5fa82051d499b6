"""Reads a teacher's outputs as another program wrote them, and converts them to logits."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.storage.bundle import Bundle
from lelp_jax.storage.rows import RowArray

_LOG = logging.getLogger(__name__)
# Probabilities are raised to this before the logarithm. A stored 0 is a probability that was too
# small to represent next to 1: float32 rounds 1 - 2e-8 to 1.
LEAST_PROBABILITY = 1e-7
# How far rounding may put a probability, or the sum of a row, from where it belongs: by the
# distance of bfloat16 numbers just above 1, the coarsest type in which teachers answer.
_ROUNDING = 2.0**-7
# Sums of squares of smaller logits stay within float32. No softmax tells larger ones apart.
_LARGEST_LOGIT = 1e15


@dataclasses.dataclass(frozen=True)
class Imported:
    """The arrays of a teacher; rows are read from disk when they are accessed.

    Attributes:
        bundle: The file, folder or address.
        embeddings: [rows, dims].
        logits: [rows, classes] float32.
        output_weights: [dims, classes] float32, or None if they are not given.
        from_probabilities: Whether the logits are logarithms of probabilities, which determine
            logits up to a constant per row.
    """

    bundle: Bundle
    embeddings: RowArray
    logits: RowArray
    output_weights: np.ndarray | None
    from_probabilities: bool

    @property
    def names(self) -> tuple[str, str]:
        """Names of embeddings and logits in the bundle."""
        return "embeddings", "probabilities" if self.from_probabilities else "logits"

    def answers(self, positions: Any) -> tuple[np.ndarray, np.ndarray]:
        """Reads logits [n, classes] and embeddings [n, dims] of rows, float32.

        Args:
            positions: Rows of the file, a slice or [n] integers.

        Raises:
            UserError: A value is not finite; the message names file and row.
        """
        # A float64 value beyond the range of float32 becomes infinite here and is reported below.
        with np.errstate(over="ignore"):
            embeddings = np.asarray(self.embeddings[positions], np.float32)
        finite = np.isfinite(embeddings).all(axis=1)
        if not finite.all():
            row = int(np.arange(len(self.embeddings))[positions][int(np.argmin(finite))])
            raise UserError(
                f"{self.bundle.place('embeddings', row)}: the embedding is not finite in float32; "
                "fix or remove the row"
            )
        return self.logits[positions], embeddings


class _Logits:
    """Logits computed from what a file holds.

    The file holds logits or probabilities, of all classes or, from a sigmoid, of the second only.

    Attributes:
        shape: [rows, classes].
        dtype: float32.
    """

    def __init__(self, array: RowArray, locate: Callable[[int], str], probabilities: bool):
        """Wraps an array.

        Args:
            array: [rows, classes], or [rows, 1] or [rows] for the second of two classes.
            locate: Describes the location of a row, for messages.
            probabilities: Whether the array holds probabilities instead of logits.
        """
        self._array, self._locate, self._probabilities = array, locate, probabilities
        self._one = len(array.shape) == 1 or array.shape[1] == 1
        self._told = False
        self.shape = (array.shape[0], 2 if self._one else array.shape[1])
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        values = np.asarray(self._array[rows], np.float64).reshape(
            -1, 1 if self._one else self.shape[1]
        )
        self._refuse(~np.isfinite(values), values, rows, "holds {}, which is not finite")
        if self._probabilities:
            return self._convert_probabilities(values, rows)
        # A single output is the logit of the second class, with that of the first fixed at 0.
        result = np.pad(values, ((0, 0), (1, 0))) if self._one else values
        self._refuse(
            np.abs(values) > _LARGEST_LOGIT,
            values,
            rows,
            f"holds {{}}, which is too large, beyond {_LARGEST_LOGIT:g}: the teacher has diverged, "
            "or the value is a mask; save logits of ordinary size",
        )
        return result.astype(np.float32)

    def _convert_probabilities(self, values: np.ndarray, rows: Any) -> np.ndarray:
        self._refuse(
            (values < -_ROUNDING) | (values > 1 + _ROUNDING),
            values,
            rows,
            "holds {}, which is outside 0..1; logits belong under the key 'logits'",
        )
        outside = (values < 0) | (values > 1)
        if outside.any() and not self._told:
            self._told = True
            row, value = self._find(outside, values, rows)
            _LOG.info(
                "%s: the probability %.9g is beyond 0..1 by a rounding error, and is clipped, as "
                "are others like it",
                self._locate(row),
                value,
            )
        values = np.clip(values, 0, 1)
        if self._one:
            values = np.concatenate([1 - values, values], axis=1)
        total = values.sum(axis=1, keepdims=True)
        self._refuse(
            np.abs(total - 1) > _ROUNDING,
            total,
            rows,
            "sums to {}, not to 1; logits belong under the key 'logits'",
        )
        return np.log(np.maximum(values, LEAST_PROBABILITY)).astype(np.float32)

    def _refuse(self, wrong: np.ndarray, values: np.ndarray, rows: Any, problem: str) -> None:
        """Raises the error for the first wrong value of rows, [n, ...], which `problem` shows."""
        if wrong.any():
            row, value = self._find(wrong, values, rows)
            name = "probabilities" if self._probabilities else "logits"
            raise UserError(
                f"{self._locate(row)}: the row of {name} {problem.format(f'{value:.9g}')}"
            )

    def _find(self, wrong: np.ndarray, values: np.ndarray, rows: Any) -> tuple[int, float]:
        """Finds the first wrong value and its row in the file."""
        position = tuple(np.argwhere(wrong)[0])
        return int(np.arange(len(self))[rows][position[0]]), float(values[position])


def read(bundle: Bundle) -> Imported:
    """Opens a teacher's arrays and checks their shapes.

    Args:
        bundle: Holds `embeddings` [rows, dims], `logits` or `probabilities` [rows, classes] (also
            [rows, 1] or [rows], the sigmoid output for the second class) and, optionally,
            `output_weights` [dims, classes].

    Raises:
        UserError: An array is missing, or the shapes do not match.
    """
    where = bundle.location
    for name, what in (
        ("embeddings", "the inputs of its output layer, [rows, dims],"),
        ("logits", "the outputs of its output layer before the softmax, [rows, classes],"),
    ):
        if name not in bundle and not (name == "logits" and "probabilities" in bundle):
            also = ", or its probabilities as 'probabilities'" if name == "logits" else ""
            raise UserError(
                f"{where} has no {name} (it holds {', '.join(bundle.names())}); run the teacher "
                f"again and save {what} as {name!r}{also}"
            )
    if "logits" in bundle and "probabilities" in bundle:
        raise UserError(f"{where} holds both logits and probabilities; remove one of them")
    embeddings = bundle.array("embeddings")
    if len(embeddings.shape) != 2 or embeddings.dtype.kind not in "fiu":
        raise UserError(
            f"{where}: embeddings have shape {tuple(embeddings.shape)} and type "
            f"{embeddings.dtype}; save numbers of shape [rows, dims]"
        )
    name = "logits" if "logits" in bundle else "probabilities"
    given = bundle.array(name)
    if len(given.shape) not in (1, 2) or given.dtype.kind not in "fiu" or 0 in given.shape[1:]:
        raise UserError(
            f"{where}: {name} have shape {tuple(given.shape)} and type {given.dtype}; save numbers "
            "of shape [rows, classes]"
        )
    if len(given) != len(embeddings):
        raise UserError(
            f"{where}: {len(given)} rows of {name}, but {len(embeddings)} of embeddings; save both "
            "for the same rows"
        )
    if not len(given):
        raise UserError(f"{where} has no rows; save the outputs for every row of the data")
    logits = _Logits(given, lambda row: bundle.place(name, row), name == "probabilities")
    weights = None
    if "output_weights" in bundle:
        weights = check_output_weights(
            np.asarray(bundle.array("output_weights")[:]),
            where,
            embeddings.shape[1],
            logits.shape[1],
        )
    return Imported(bundle, embeddings, logits, weights, name == "probabilities")


def check_output_weights(values: np.ndarray, where: str, dims: int, num_classes: int) -> np.ndarray:
    """Checks output weights and converts them to [dims, classes] float32.

    Args:
        values: [dims, classes]; also [dims] or [dims, 1] of a teacher with one sigmoid output.
        where: The file, for messages.
        dims: Embedding dims.
        num_classes: Number of classes.

    Raises:
        UserError: The shape does not match, or a value is not finite.
    """
    if num_classes == 2 and values.shape in ((dims,), (dims, 1)):
        values = np.stack([np.zeros(dims), values.reshape(dims)], axis=1)
    if values.shape != (dims, num_classes):
        hint = "leave them out to have their range estimated"
        if values.shape == (num_classes, dims):
            hint = "save their transpose"
        raise UserError(
            f"{where}: output_weights have shape {values.shape}, but must have [dims, classes] = "
            f"{(dims, num_classes)}; {hint}"
        )
    # Comparisons with NaN are false, so this rejects NaN, too.
    if values.dtype.kind not in "fiu" or not (np.abs(values) <= np.finfo(np.float32).max).all():
        raise UserError(
            f"{where}: output_weights hold values that are not finite in float32; fix them, or "
            "leave them out to have their range estimated"
        )
    return values.astype(np.float32)
