"""Replicates: random choices that the students of all methods share.

A replicate fixes teacher, transfer set, projection seed, initialisation and example order. Students
of different methods in one replicate then differ in nothing but the method, so the comparison is
paired: the variation between replicates, which is often larger than the gain of a method, cancels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from lelp_jax.bank.stage import ViewedImages
from lelp_jax.bank.store import Bank
from lelp_jax.bank.views import Views
from lelp_jax.core import seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.run import Run
from lelp_jax.storage.rows import Selection
from lelp_jax.teachers.base import Teacher


@dataclasses.dataclass(frozen=True)
class Replicate:
    """The random choices that the students of one replicate share.

    Attributes:
        number: Number of the replicate, from 0.
        teacher_number: Number of the teacher that the students learn from.
        teacher: That teacher, or the one that a method derives from it.
        bank: The teacher's outputs.
        dataset: The data as the students know them: with the labels that their teacher knows.
        transfer: Data-set indices of the rows that the students may see, sorted.
        seed: Root seed of all other random choices.
        views: The views of images that the students see in place of the images; None if they see
            the images, or change them anew in every step.
    """

    number: int
    teacher_number: int
    teacher: Teacher
    bank: Bank
    dataset: Dataset
    transfer: np.ndarray
    seed: int
    views: Views | None = None

    def list_shown(self, index: np.ndarray) -> np.ndarray:
        """Lists what students see of rows, as numbers in the bank, sorted.

        Args:
            index: Data-set indices of the rows, sorted, [rows].

        Returns:
            The numbers of all views of the rows, [views * rows]; without views the indices.
        """
        return index if self.views is None else self.views.list_numbers(index)

    def find_index(self, shown: np.ndarray) -> np.ndarray:
        """Finds the data-set indices of the rows behind numbers in the bank."""
        return shown if self.views is None else self.views.find_index(shown)


def make_views(run: Run) -> ViewedImages | None:
    """Makes the views whose outputs are stored in banks; None where there are none.

    Args:
        run: The run.
    """
    config = run.config
    if not config.bank.views:
        return None
    augmentation = config.student.train.augmentation
    seed = seeds.derive(config.seed, "views")
    views = Views(len(run.dataset.inputs), config.bank.views, augmentation, seed)
    return ViewedImages(run.inputs.values, views)


def draw(
    run: Run,
    teachers: Sequence[Teacher],
    banks: Sequence[Bank],
    viewed: ViewedImages | None,
) -> list[Replicate]:
    """Draws all replicates of an experiment.

    Args:
        run: The run.
        teachers: The teachers.
        banks: Their outputs.
        viewed: The views whose outputs the banks hold, if any.
    """
    config, dataset = run.config, run.dataset
    views = None if viewed is None else viewed.views
    # Students of one teacher share its errors and are not independent. The replicates therefore
    # take the teachers in turn, and the statistics treat each teacher as a cluster of replicates.
    size = config.data.transfer_size or len(dataset.train)
    result = []
    for number in range(config.replicates):
        seed = seeds.derive(config.seed, "replicate", number)
        positions = seeds.draw_subset(seeds.derive(seed, "transfer"), size, len(dataset.train))
        which = number % len(teachers)
        transfer = dataset.train[positions]
        teacher, bank, known = teachers[which], banks[which], run.known[which]
        result.append(Replicate(number, which, teacher, bank, known, transfer, seed, views))
    return result


def read_teacher_embedding(replicate: Replicate, shown: np.ndarray) -> np.ndarray:
    """Reads the embedding of rows by a replicate's teacher, [rows, dims] float32.

    Args:
        replicate: The replicate.
        shown: Data-set indices of the rows, or numbers of views, [rows].
    """
    bank = replicate.bank
    return np.asarray(Selection(bank.embeddings, bank.find_positions(shown))[:], np.float32)
