"""What the diagnostics and the explorer look at: some rows of each class, and ways to split it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import artifacts as stages
from lelp_jax.core import seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.projection import PROJECTORS, scoring
from lelp_jax.projection.base import Projection
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report.diagnostics.spectrum import spectra
from lelp_jax.storage.checked import checksum
from lelp_jax.storage.rows import Selection

# The paper's directions, and clusters where a class has some.
SPLITS = ("lelp", "soft_kmeans")
_PER_CLASS = 2000
_IN_ALL = 8000
# A pseudo-subclass of fewer rows says nothing about itself.
LEAST_ROWS = 5
# Above this the covariances of the classes take longer than all the rest.
_MOST_COVARIANCE_DIMS = 1024


def draw(dataset: Dataset, bank: Bank, index: np.ndarray, seed: int) -> EmbeddedRows:
    """Returns at most 2,000 rows of every class and about 8,000 in all, with their embedding.

    Which ones are drawn depends on the seed and on their own index alone.

    Args:
        dataset: The data.
        bank: The teacher's answers.
        index: Data-set indices to draw from, sorted, each of a known class, [n].
        seed: Seed of the draw.
    """
    most = min(_PER_CLASS, max(_IN_ALL // dataset.num_classes, 10 * LEAST_ROWS))
    words, label = seeds.hash_words(seed, index), dataset.labels[index]
    members = [np.flatnonzero(label == number) for number in range(dataset.num_classes)]
    drawn = [own[np.argsort(words[own], kind="stable")[:most]] for own in members]
    return read(dataset, bank, index[np.sort(np.concatenate(drawn))])


def read(dataset: Dataset, bank: Bank, index: np.ndarray) -> EmbeddedRows:
    """Returns rows given by their data-set index, [n], with their embedding in memory."""
    fine = None if dataset.fine_labels is None else dataset.fine_labels[index]
    place = bank.position(index)
    rows = EmbeddedRows(Selection(bank.embeddings, place), index, dataset.labels[index], fine)
    # With a name principal components are computed once for all that asks for them.
    name = stages.fingerprint([bank.fingerprint, checksum(place)])
    return dataclasses.replace(rows.part(slice(None)), name=name)


def halves(rows: EmbeddedRows, seed: int) -> tuple[EmbeddedRows, EmbeddedRows]:
    """Returns two random halves of the rows of every class."""
    words = seeds.hash_words(seed, rows.index)
    first = np.zeros(len(rows), bool)
    for label in np.unique(rows.label):
        own = np.flatnonzero(rows.label == label)
        first[own[np.argsort(words[own], kind="stable")[::2]]] = True
    one, other = (
        dataclasses.replace(rows.part(np.flatnonzero(own)), name=f"{rows.name} {seed} {number}")
        for number, own in enumerate((first, ~first))
    )
    return one, other


def most_subclasses(rows: EmbeddedRows, output_weights: np.ndarray, wanted: int) -> int:
    """Returns how many pseudo-subclasses every class can be split into, at most those wanted.

    Args:
        rows: The rows to fit.
        output_weights: [dims, classes].
        wanted: The number that is asked for.
    """
    sizes = np.bincount(rows.label, minlength=output_weights.shape[1])
    ranks = [spectrum.rank for spectrum in spectra(rows, output_weights)]
    return min(wanted, int(sizes.min()) // LEAST_ROWS, *ranks)


def fit(
    rows: EmbeddedRows, output_weights: np.ndarray, num_subclasses: int, seed: int
) -> Mapping[str, Projection]:
    """Returns the projection of each of `SPLITS`, with its settings' defaults.

    Args:
        rows: The rows to fit.
        output_weights: [dims, classes].
        num_subclasses: At most `most_subclasses`.
        seed: Seed of rotations and of the centres' start.
    """
    large = len(output_weights) > _MOST_COVARIANCE_DIMS
    asked = {
        "num_subclasses": num_subclasses,
        "solver": "randomized" if large else "covariance",
    }
    result = {}
    for name in SPLITS:
        projector = PROJECTORS[name]
        values = {
            key: setting.default[0] for key, setting in projector.search_space.items()
        } | asked
        if "num_components" in values:
            # Fewer coordinates than clusters might leave too few distinct rows.
            values["num_components"] = max(int(values["num_components"]), num_subclasses)
        result[name] = projector.fit(rows, output_weights, values, seed)
    return result


def subclass(projection: Projection, rows: EmbeddedRows) -> np.ndarray:
    """Returns the pseudo-subclass in which each row's own class scores it highest, [rows]."""
    scores = scoring.collect(projection, rows)
    return scores[np.arange(len(rows)), rows.label].argmax(axis=1)
