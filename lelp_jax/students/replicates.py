"""Replicates: random choices that the students of all methods share.

A replicate fixes teacher, transfer set, projection seed, initialisation and example order. Students
of different methods in one replicate then differ in nothing but the method, so the comparison is
paired: the variation between replicates, which is often larger than the gain of a method, cancels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from lelp_jax.bank.store import Bank
from lelp_jax.core import seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
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
        transfer: Data-set indices of the rows that the students may see, sorted.
        seed: Root seed of all other random choices.
    """

    number: int
    teacher_number: int
    teacher: Teacher
    bank: Bank
    transfer: np.ndarray
    seed: int


def draw(
    config: Config, dataset: Dataset, teachers: Sequence[Teacher], banks: Sequence[Bank]
) -> list[Replicate]:
    """Draws all replicates of an experiment.

    Args:
        config: The experiment.
        dataset: The data.
        teachers: The teachers.
        banks: Their outputs.
    """
    # Students of one teacher share its errors and are not independent. The replicates therefore
    # take the teachers in turn, and the statistics treat each teacher as a cluster of replicates.
    size = config.data.transfer_size or len(dataset.train)
    result = []
    for number in range(config.replicates):
        seed = seeds.derive(config.seed, "replicate", number)
        positions = seeds.draw_subset(seeds.derive(seed, "transfer"), size, len(dataset.train))
        which = number % len(teachers)
        transfer = dataset.train[positions]
        result.append(Replicate(number, which, teachers[which], banks[which], transfer, seed))
    return result


def read_teacher_embedding(replicate: Replicate, index: np.ndarray) -> np.ndarray:
    """Reads the embedding of rows by a replicate's teacher, [rows, dims] float32.

    Args:
        replicate: The replicate.
        index: Data-set indices of the rows, [rows].
    """
    bank = replicate.bank
    return np.asarray(Selection(bank.embeddings, bank.find_positions(index))[:], np.float32)
