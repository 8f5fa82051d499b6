"""Samples rows of each class and splits them, for the diagnostics and the explorer.

A sample is enough for both, and keeps their time independent of the size of the data.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts, seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.projection import PROJECTORS, scoring
from lelp_jax.projection.base import Projection
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report.diagnostics.spectrum import compute_spectra
from lelp_jax.storage.checked import checksum
from lelp_jax.storage.rows import Selection

# LELP's directions, and clusters. If a class has clusters, the second should find them again.
SPLITS = ("lelp", "soft_kmeans")
# Rows per class, and about as many in total.
_PER_CLASS = 2000
_IN_ALL = 8000
# With fewer rows per pseudo-subclass, measures of it are mostly noise.
LEAST_ROWS = 5
# Above this number of dimensions, computing class covariances would dominate the time.
_MOST_COVARIANCE_DIMS = 1024


def draw(dataset: Dataset, bank: Bank, index: np.ndarray, seed: int) -> EmbeddedRows:
    """Draws at most 2,000 rows of every class, about 8,000 in total, and reads their embedding.

    Whether a row is drawn depends on a hash of the seed and its index, so leaving out
    some of the data hardly changes the rest of the sample.

    Args:
        dataset: The data.
        bank: The teacher's outputs.
        index: Data-set indices to draw from, sorted, each of a known class, [n].
        seed: Seed of the draw.
    """
    most = min(_PER_CLASS, max(_IN_ALL // dataset.num_classes, 10 * LEAST_ROWS))
    words, label = seeds.hash_words(seed, index), dataset.labels[index]
    members = [np.flatnonzero(label == number) for number in range(dataset.num_classes)]
    drawn = [rows[np.argsort(words[rows], kind="stable")[:most]] for rows in members]
    return read(dataset, bank, index[np.sort(np.concatenate(drawn))])


def read(dataset: Dataset, bank: Bank, index: np.ndarray) -> EmbeddedRows:
    """Reads the rows with the given data-set indices, [n], and their embedding into memory."""
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    position = bank.find_positions(index)
    rows = EmbeddedRows(Selection(bank.embeddings, position), index, dataset.labels[index], fine)
    # The name is a cache key: principal components are computed once for both splits.
    name = artifacts.fingerprint([bank.fingerprint, checksum(position)])
    return dataclasses.replace(rows.part(slice(None)), name=name)


def split_in_halves(rows: EmbeddedRows, seed: int) -> tuple[EmbeddedRows, EmbeddedRows]:
    """Splits the rows of every class into two random halves."""
    words = seeds.hash_words(seed, rows.index)
    first = np.zeros(len(rows), bool)
    for label in np.unique(rows.label):
        members = np.flatnonzero(rows.label == label)
        first[members[np.argsort(words[members], kind="stable")[::2]]] = True
    one, other = (
        dataclasses.replace(rows.part(np.flatnonzero(half)), name=f"{rows.name} {seed} {number}")
        for number, half in enumerate((first, ~first))
    )
    return one, other


def limit_subclasses(rows: EmbeddedRows, output_weights: np.ndarray, num_subclasses: int) -> int:
    """Limits the number of pseudo-subclasses to what the smallest class allows.

    Args:
        rows: The rows to fit.
        output_weights: Weights of the teacher's output layer, [dims, classes].
        num_subclasses: The number asked for.

    Returns:
        The largest number, at most the one asked for, for which every class has enough rows and
        directions; 0 if a class has too few rows for any.
    """
    sizes = np.bincount(rows.label, minlength=output_weights.shape[1])
    ranks = [spectrum.rank for spectrum in compute_spectra(rows, output_weights)]
    return min(num_subclasses, int(sizes.min()) // LEAST_ROWS, *ranks)


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, num_subclasses: int, seed: int
) -> Mapping[str, Projection]:
    """Fits the projection of each of `SPLITS` with its default hyperparameters.

    Args:
        rows: The rows to fit.
        output_weights: Weights of the teacher's output layer, [dims, classes].
        num_subclasses: The number of pseudo-subclasses per class, at most `limit_subclasses`.
        seed: Seed of rotations and of the initial centres.

    Returns:
        The projections by name.
    """
    large = len(output_weights) > _MOST_COVARIANCE_DIMS
    chosen = {
        "num_subclasses": num_subclasses,
        "solver": "randomized" if large else "covariance",
    }
    result = {}
    for name in SPLITS:
        projector = PROJECTORS[name]
        values = {key: entry.default[0] for key, entry in projector.search_space.items()} | chosen
        if "num_components" in values:
            # In fewer coordinates than clusters, too few rows might remain distinct.
            values["num_components"] = max(int(values["num_components"]), num_subclasses)
        result[name] = projector.fit(rows, output_weights, values, seed)
    return result


def assign_subclasses(projection: Projection, rows: EmbeddedRows) -> np.ndarray:
    """Assigns each row to the highest-scoring pseudo-subclass of its class, [rows]."""
    scores = scoring.collect(projection, rows)
    return scores[np.arange(len(rows)), rows.label].argmax(axis=1)
