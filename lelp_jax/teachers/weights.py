"""The weights of an imported teacher's output layer: checked where given, else estimated.

The layer maps the embedding to the logits linearly. So given weights can be checked against logits
and embeddings, and unknown ones recovered by regression, in every direction in which the embedding
varies.

LELP takes the range of the weights W out of the embedding (arXiv 2409.20449, section 3.1:
distillation of the logits already carries what lies along it). Weights that are given are taken as
they are, and their range has as many dims as they have independent columns, as in the paper. What
is estimated is their differences between classes, W - mean of its columns, whose range has a dim
less than there are classes. Of these alone the outputs tell: a vector added to all columns of W
adds a constant to the logits of a row, which changes no probability, and which probabilities, a
sigmoid's single output, and programs that store logits relative to one class have dropped. A
student that matches the teacher's probabilities learns nothing of it either. So the same teacher
has the same targets, in whichever of these forms its outputs are stored.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import scipy.optimize

from lelp_jax.core.errors import UserError
from lelp_jax.projection.engine import moments, stream
from lelp_jax.projection.engine.rows import EmbeddedRows, rescale
from lelp_jax.storage.rows import RowArray, Selection
from lelp_jax.teachers.imported import LEAST_PROBABILITY, Imported

_LOG = logging.getLogger(__name__)
# A linear layer that takes this embedding gives 1 up to rounding. Less means that the layer takes
# something else, such as the embedding after a nonlinearity.
_LEAST_R_SQUARED = 0.99
# Rows by which given weights are checked.
_CHECKED_ROWS = 4096
_CHUNK_ROWS = 1 << 16


def find(arrays: Imported, rows: np.ndarray | None = None) -> np.ndarray:
    """Finds the output weights of a teacher: those given, or else an estimate.

    Args:
        arrays: The teacher.
        rows: Positions of the rows to estimate them from; None takes all.

    Returns:
        [dims, classes] float32.
    """
    if arrays.output_weights is not None:
        return arrays.output_weights
    embeddings, logits = arrays.embeddings, arrays.logits
    if rows is not None:
        embeddings, logits = Selection(embeddings, rows), Selection(logits, rows)
    where = arrays.bundle.location
    return estimate(embeddings, logits, arrays.from_probabilities, where)[0]


def check(arrays: Imported, rows: np.ndarray | None = None) -> None:
    """Checks that the output weights of a teacher, if given, make its logits of its embedding.

    Warns where they do not. Logits are compared relative to their mean over the classes.

    Args:
        arrays: The teacher.
        rows: Positions of the rows that count; None takes all. Some thousands of them are read.

    Raises:
        UserError: The weights fit in another layout, or another order of the classes.
    """
    if arrays.output_weights is None:
        return
    known = np.arange(len(arrays.embeddings)) if rows is None else np.sort(rows)
    chosen = known[np.unique(np.linspace(0, len(known) - 1, _CHECKED_ROWS).astype(int))]
    logits = np.asarray(arrays.logits[chosen], np.float64)
    # Rows that are not finite in float32 are told where they are read to be used.
    with np.errstate(over="ignore"):
        embeddings = np.asarray(arrays.embeddings[chosen], np.float32).astype(np.float64)
    usable = np.isfinite(embeddings).all(axis=1)
    if arrays.from_probabilities:
        usable &= ~_is_saturated(logits)
    embeddings, target = embeddings[usable], _centre(logits[usable])
    variation = float(target.var(axis=0).sum()) if len(target) else 0.0
    if not variation:
        return

    def explain(weights: np.ndarray) -> float:
        left = target - _centre(embeddings @ weights)
        return 1 - float(left.var(axis=0).sum()) / variation

    where, weights = arrays.bundle.location, arrays.output_weights.astype(np.float64)
    explained = explain(weights)
    if explained >= _LEAST_R_SQUARED:
        return
    dims, classes = weights.shape
    if explain(weights.reshape(classes, dims).T) >= _LEAST_R_SQUARED:
        raise UserError(
            f"{where}: output_weights hold [classes, dims] = {(classes, dims)} in the shape "
            f"{(dims, classes)}, reshaped instead of transposed; save their transpose, weights.T"
        )
    given = _centre(embeddings @ weights)
    given -= given.mean(axis=0)
    _, order = scipy.optimize.linear_sum_assignment(target.T @ given, maximize=True)
    if explain(weights[:, order]) >= _LEAST_R_SQUARED:
        raise UserError(
            f"{where}: the columns of output_weights are in another order of classes than the "
            f"logits; save output_weights[:, {order.tolist()}]"
        )
    factor = float(np.sum(target * given) / max(np.square(given).sum(), np.finfo(float).tiny))
    if factor > 0 and explain(factor * weights) >= _LEAST_R_SQUARED:
        _LOG.info(
            "%s: the logits are %.3g times those of the output weights, as at another temperature; "
            "the range of the weights is the same",
            where,
            factor,
        )
        return
    _LOG.warning(
        "%s: the output weights explain the logits with R^2 = %.4f, below %s: they do not make "
        "these logits of this embedding; leave them out to have their range estimated, or save the "
        "last hidden layer as embedding",
        where,
        explained,
        _LEAST_R_SQUARED,
    )


def _centre(logits: np.ndarray) -> np.ndarray:
    """Takes the mean over the classes out of each row: it changes no probability."""
    return logits - logits.mean(axis=1, keepdims=True)


def _is_saturated(logits: np.ndarray) -> np.ndarray:
    """Finds rows of which a probability is 0, and its logit not known, [rows] bool.

    Args:
        logits: Logarithms of probabilities, [rows, classes].
    """
    # Up to the rounding of float32.
    return logits.min(axis=1) < np.log(LEAST_PROBABILITY) + 1e-5


@dataclasses.dataclass(frozen=True)
class _Concatenated:
    """Embeddings and centred logits concatenated by row, [rows, dims + classes].

    One pass over these rows gives all second moments that the regression needs.
    """

    embeddings: RowArray
    logits: RowArray

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.embeddings), self.embeddings.shape[1] + self.logits.shape[1]

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, rows: Any) -> np.ndarray:
        logits = _centre(np.asarray(self.logits[rows], np.float32))
        return np.concatenate([np.asarray(self.embeddings[rows], np.float32), logits], axis=1)


def estimate(
    embeddings: RowArray, logits: RowArray, from_probabilities: bool, where: str
) -> tuple[np.ndarray, float]:
    """Fits the differences of the output weights between classes by least squares.

    Rows with a probability of 0, whose logits are not known, are left out where enough others are
    there.

    Args:
        embeddings: [rows, dims].
        logits: [rows, classes].
        from_probabilities: Whether the logits are logarithms of probabilities.
        where: The file, for the log.

    Returns:
        Weights [dims, classes] float32, which sum to 0 over the classes, and R^2 in [0, 1].
    """
    dims = embeddings.shape[1]
    known = np.ones(len(embeddings), bool)
    if from_probabilities:
        for start in range(0, len(known), _CHUNK_ROWS):
            chunk = slice(start, start + _CHUNK_ROWS)
            known[chunk] = ~_is_saturated(np.asarray(logits[chunk]))
    saturated = float(1 - known.mean())
    enough = int(known.sum()) >= 2 * (dims + 1)
    used = np.where(known | (not enough), 0, -1).astype(np.int32)
    # Each by its own power of two: weights are the same of rows and logits of any size.
    (given, unit), (answers, unit_of_logits) = (
        rescale(EmbeddedRows(array, np.arange(len(used)), used)) for array in (embeddings, logits)
    )
    rows = dataclasses.replace(given, embedding=_Concatenated(given.embedding, answers.embedding))
    origin = stream.origin(rows, 1)
    collected = moments.collect(rows, 1, origin, np.zeros((origin.shape[1], 0), np.float32))
    scatter = np.asarray(collected.scatter[0], np.float64)
    if not np.isfinite(scatter).all():
        stream.refuse_bad_rows(rows)
    within, across, total = scatter[:dims, :dims], scatter[:dims, dims:], scatter[dims:, dims:]
    # Directions in which the embedding varies no more than rounding does carry no information.
    rounding = max(dims, 10) * np.finfo(np.float32).eps
    weights = np.linalg.pinv(within, rcond=rounding, hermitian=True) @ across
    explained = float(np.sum(weights * across) / max(np.trace(total), np.finfo(float).tiny))
    explained = min(max(explained, 0.0), 1.0)
    hint = ""
    if explained < _LEAST_R_SQUARED and from_probabilities:
        hint = (
            f", below {_LEAST_R_SQUARED}: {saturated:.1%} of the rows have a probability of 0 or "
            "1, whose logits are not known, and near those probabilities are coarse; save the "
            "logits instead, and the last hidden layer as embedding"
        )
    elif explained < _LEAST_R_SQUARED:
        hint = (
            f", below {_LEAST_R_SQUARED}: the embedding is not the input of the output layer; "
            "save the output weights, or the last hidden layer as embedding"
        )
    elif saturated and enough:
        hint = f", without the {saturated:.1%} of the rows that have a probability of 0 or 1"
    _LOG.log(
        logging.INFO if explained >= _LEAST_R_SQUARED else logging.WARNING,
        "%s: no output weights; estimated their range from the %s with R^2 = %.4f%s",
        where,
        "probabilities" if from_probabilities else "logits",
        explained,
        hint,
    )
    # Exactly the differences: rounding in the sum would be one more direction.
    return _centre(unit_of_logits / unit * weights).astype(np.float32), explained
