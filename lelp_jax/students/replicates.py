"""Replicates: what the students of all methods share, so that methods are compared within it."""

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
    """What a replicate fixes; methods are compared within it.

    Attributes:
        number: Its number.
        teacher_number: Which of the teachers its students learn from.
        teacher: That teacher, or the one that a method derives from it.
        bank: That teacher's outputs.
        transfer: Data-set indices of the rows its students may see, sorted.
        seed: Root of its random choices.
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
    """Returns all replicates of an experiment.

    Args:
        config: The experiment.
        dataset: The data.
        teachers: The teachers.
        banks: Their outputs.
    """
    size = config.data.transfer_size or len(dataset.train)
    result = []
    for number in range(config.replicates):
        seed = seeds.derive(config.seed, "replicate", number)
        chosen = seeds.subset(seeds.derive(seed, "transfer"), size, len(dataset.train))
        which = number % len(teachers)
        seen = dataset.train[chosen]
        result.append(Replicate(number, which, teachers[which], banks[which], seen, seed))
    return result


def teacher_embedding(replicate: Replicate, index: np.ndarray) -> np.ndarray:
    """Returns the embedding of rows by a replicate's teacher, [rows, dims] float32.

    Args:
        replicate: The replicate.
        index: Data-set indices of the rows, [rows].
    """
    bank = replicate.bank
    return np.asarray(Selection(bank.embeddings, bank.position(index))[:], np.float32)
