"""Logistic regression on the inputs of the students, or on weighted word counts of texts.

scikit-learn fits it. It is imported on first use, because that takes longer than all else that the
launch of a finished run does.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lelp_jax.core import metrics, seeds
from lelp_jax.models.pixels import scale_pixels

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import ThreadpoolController

Encode = Callable[[np.ndarray], Any]
# Inverse strengths of the L2 penalty (`C` of scikit-learn) by kind of rows. Rows of word counts
# have length 1, so they need larger weights than features of unit variance, hence a weaker penalty.
# Pixels are many and repeat their neighbours, so they need smaller ones.
_STRENGTHS = {
    "numbers": (0.001, 0.01, 0.1, 1.0, 10.0, 100.0),
    "images": (0.0001, 0.001, 0.01, 0.1),
    "texts": (0.1, 1.0, 10.0, 100.0),
}
# Longest run of neighbouring words that counts as a term.
_NGRAMS = (1, 2)
_MOST_TERMS = 200_000
# Japanese and Chinese are written without blanks, so each of their characters counts as a word.
_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"[{_SINGLE}]|[^\W{_SINGLE}]+"
# L-BFGS takes some tens of iterations, except where classes are separable and the penalty is weak.
_MOST_ITERATIONS = 500
# Largest gradient of a finished fit. Neighbouring pixels are so much alike that a smaller one would
# take several times as many iterations and change the accuracy by a quarter of a point.
_TOLERANCE = {"numbers": 1e-4, "images": 1e-3, "texts": 1e-4}
# Most values (rows x features x outputs, or words of texts x outputs) of the fits that choose the
# strength, all row sets together, and of a final one: a few seconds each on one core.
_CHOOSING = {"numbers": 2e8, "images": 4e7, "texts": 2e6}
_FITTING = {"numbers": 4e8, "images": 2e8, "texts": 1e7}
_CHARACTERS_PER_WORD = 5
# Values of rows that are turned into floats at a time to predict them: 160 MB as float64.
_PREDICTED_VALUES = 20_000_000
_SEED = seeds.derive(0, "references")


@dataclasses.dataclass(frozen=True)
class Examples:
    """Rows to fit and to predict, given by their index.

    Attributes:
        inputs: Features, [rows, features...]; images, [rows, height, width, channels] uint8; or
            texts, [rows] objects.
        labels: Class of each row, [rows] int32; -1 where unknown.
        class_weights: Weight of each class in the loss, [classes].
    """

    inputs: np.ndarray
    labels: np.ndarray
    class_weights: np.ndarray

    @property
    def kind(self) -> str:
        """What the rows are: "numbers", "images" or "texts"."""
        if self.inputs.dtype == object:
            return "texts"
        return "images" if self.inputs.dtype == np.uint8 else "numbers"


@dataclasses.dataclass(frozen=True)
class Linear:
    """A fitted logistic regression.

    Attributes:
        encode: Makes the matrix of features, [rows, features], of raw rows; see `_read_floats`.
        model: scikit-learn's model; None if all rows have one class.
        present: The classes of the rows it was fitted to, sorted.
        rows: How many rows those were.
        num_classes: Number of classes.
    """

    encode: Encode
    model: LogisticRegression | None
    present: np.ndarray
    rows: int
    num_classes: int

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return 0 if self.model is None else self.model.coef_.size + self.model.intercept_.size

    @property
    def converged(self) -> bool:
        """Whether the fit ended before the largest number of iterations."""
        return self.model is None or int(np.max(self.model.n_iter_)) < _MOST_ITERATIONS

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Computes class logits of raw rows, [rows, classes] float32."""
        return self.predict_encoded(self.encode(inputs))

    def predict_encoded(self, features: Any) -> np.ndarray:
        """Computes class logits of encoded rows, [rows, classes] float32.

        A class without a row gets the probability of one row more than there were, so that its
        negative log-likelihood is finite.
        """
        known = np.zeros((features.shape[0], 1))
        if self.model is not None:
            size = max(1, _PREDICTED_VALUES // features.shape[1])
            stretches = range(0, features.shape[0], size)
            parts = [_read_floats(features[start : start + size]) for start in stretches]
            known = np.concatenate(list(map(self.model.decision_function, parts)))
            if known.ndim == 1:
                known = np.stack([np.zeros_like(known), known], axis=1)
        logits = np.full((len(known), self.num_classes), -math.log(self.rows + 1), np.float32)
        logits[:, self.present] = metrics.log_softmax(known)
        return logits


def list_candidates(kind: str) -> list[dict[str, Any]]:
    """Lists the hyperparameters to choose from, the strongest penalty first."""
    if kind == "texts":
        return [{"C": strength, "ngrams": n} for n in _NGRAMS for strength in _STRENGTHS[kind]]
    return [{"C": strength} for strength in _STRENGTHS[kind]]


def score_candidates(
    examples: Examples, index: np.ndarray, validation: np.ndarray
) -> list[dict[str, float]]:
    """Fits every candidate and computes its validation metrics.

    Args:
        examples: The rows.
        index: The rows to fit, all with a class.
        validation: The validation rows.

    Returns:
        The metrics, in the order of `list_candidates`.
    """
    result = []
    # Candidates that count the same terms follow each other and share the features.
    for ngrams, group in itertools.groupby(
        list_candidates(examples.kind), key=lambda candidate: candidate.get("ngrams", 0)
    ):
        encode, features = _fit_encoder(examples.inputs[index], ngrams)
        held_out = encode(examples.inputs[validation])
        for candidate in group:
            fitted = _fit(examples, index, (encode, features), candidate["C"])
            logits = fitted.predict_encoded(held_out)
            result.append(metrics.evaluate(logits, examples.labels[validation]))
    return result


def fit_linear(examples: Examples, index: np.ndarray, candidate: Mapping[str, Any]) -> Linear:
    """Fits a logistic regression.

    Args:
        examples: The rows.
        index: The rows to fit, all with a class.
        candidate: Its hyperparameters.
    """
    encoded = _fit_encoder(examples.inputs[index], candidate.get("ngrams", 0))
    return _fit(examples, index, encoded, candidate["C"])


def limit_rows(
    examples: Examples, row_sets: Sequence[np.ndarray], *, choosing: bool
) -> list[np.ndarray]:
    """Draws random rows of each set that is too large to fit in a few seconds.

    Args:
        examples: The rows.
        row_sets: Sets of rows.
        choosing: Whether they are fitted with every candidate, or once.

    Returns:
        For each set its rows, or the rows drawn, sorted.
    """
    outputs = len(examples.class_weights) if len(examples.class_weights) > 2 else 1
    budget = (_CHOOSING if choosing else _FITTING)[examples.kind]
    if choosing:
        budget /= len(row_sets)
    most = max(1, int(budget / (outputs * _count_values(examples))))
    return [
        index if len(index) <= most else index[seeds.draw_subset(_SEED, most, len(index))]
        for index in row_sets
    ]


def _count_values(examples: Examples) -> float:
    """Counts the features of a row, or estimates the words of a text from up to 1,000 of them."""
    if examples.kind != "texts":
        return math.prod(examples.inputs.shape[1:])
    sample = examples.inputs[:: math.ceil(len(examples.inputs) / 1000)]
    return max(1.0, sum(map(len, sample)) / len(sample) / _CHARACTERS_PER_WORD)


def _fit(
    examples: Examples, index: np.ndarray, encoded: tuple[Encode, Any], strength: float
) -> Linear:
    """Fits a model to rows, given what makes a matrix of raw rows, and their matrix."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    (encode, features), labels, model = encoded, examples.labels[index], None
    present = np.unique(labels)
    if len(present) > 1:
        tolerance = _TOLERANCE[examples.kind]
        model = LogisticRegression(C=strength, max_iter=_MOST_ITERATIONS, tol=tolerance)
        # Threads that wait for each other slow down small products many times over, and one is
        # enough for large ones.
        with _find_thread_pools().limit(limits=1), warnings.catch_warnings():
            # `Linear.converged` says so instead.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(_read_floats(features), labels, sample_weight=examples.class_weights[labels])
    return Linear(encode, model, present, len(index), len(examples.class_weights))


@functools.cache
def _find_thread_pools() -> ThreadpoolController:
    """Finds the thread pools of NumPy and scikit-learn; it takes longer than a small fit."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def _fit_encoder(inputs: np.ndarray, ngrams: int) -> tuple[Encode, Any]:
    """Fits what makes a matrix of raw rows: nothing for numbers, a vocabulary for texts.

    Returns:
        It, and the matrix of the rows that it was fitted to.
    """
    if not ngrams:
        return _flatten, _flatten(inputs)
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Terms of a single text are left out, unless there are no others.
    for least in (2, 1):
        vectorizer = TfidfVectorizer(
            token_pattern=_WORD,
            ngram_range=(1, ngrams),
            min_df=least,
            max_features=_MOST_TERMS,
            sublinear_tf=True,
        )
        try:
            return vectorizer.transform, vectorizer.fit_transform(inputs)
        except ValueError:
            # Raised where no term is left.
            continue
    # No text has a word: all look the same.
    return _make_constant, _make_constant(inputs)


def _flatten(rows: np.ndarray) -> np.ndarray:
    return rows.reshape(len(rows), -1)


def _read_floats(features: Any) -> Any:
    """Turns rows of features into floats: pixels in the scale that networks see.

    This is separate from encoding, so that large images stay bytes until a few of them are needed.
    """
    if not isinstance(features, np.ndarray):
        # A sparse matrix of word counts.
        return features
    # Eight bits gain nothing from double precision, which takes twice the time and memory.
    return scale_pixels(features) if features.dtype == np.uint8 else features.astype(np.float64)


def _make_constant(rows: np.ndarray) -> np.ndarray:
    return np.zeros((len(rows), 1))
