"""A data set and its teacher's answers, with or without clusters within the classes."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import Preprocessing

ROWS, DIMS, FEATURES, PER_CLASS = 600, 10, 6, 4


@dataclasses.dataclass(frozen=True)
class Answers:
    """What the report reads of a bank."""

    fingerprint: str
    logits: np.ndarray
    embeddings: np.ndarray
    output_weights: np.ndarray

    def find_positions(self, index: np.ndarray) -> np.ndarray:
        return np.asarray(index)


def dataset(labels: np.ndarray, inputs: np.ndarray, **fields: object) -> Dataset:
    """Returns rows of which two in three are training rows and the others validation rows.

    Inputs are numbers, [rows, features...], texts, [rows], or images, uint8.
    """
    place = np.arange(len(labels))
    settings = {
        "fine_labels": None,
        "fine_names": (),
        "class_names": tuple(f"class {n}" for n in range(labels.max() + 1)),
    }
    if isinstance(inputs[0], str):
        settings |= {"preprocessing": None, "max_length": 16}
    elif inputs.dtype == np.uint8:
        settings |= {"preprocessing": None}
    else:
        columns = tuple(f"column {n}" for n in range(inputs[0].size))
        inputs = inputs.astype(np.float32)
        settings |= {"preprocessing": Preprocessing(np.float32(0), np.float32(1), columns)}
    return Dataset(
        inputs,
        labels.astype(np.int32),
        train=place[place % 3 != 0],
        validation=place[place % 3 == 0],
        test=place[:0],
        **(settings | fields),
    )


@functools.cache
def example(clusters: bool) -> tuple[Dataset, Answers]:
    """Returns two classes of four far clusters each, seen in the inputs, or of one cloud each.

    The cloud's embedding has nothing to do with the inputs.
    """
    random = np.random.default_rng(7)
    fine = random.integers(0, 2 * PER_CLASS, ROWS)
    embedding = random.normal(size=(ROWS, DIMS))
    inputs = random.normal(size=(ROWS, FEATURES))
    if clusters:
        corners = np.linalg.qr(random.normal(size=(DIMS, DIMS)))[0][: 2 * PER_CLASS]
        embedding += 25 * corners[fine]
        inputs += 8 * random.normal(size=(2 * PER_CLASS, FEATURES))[fine]
    labels = fine % 2
    names = tuple(map(str, range(2 * PER_CLASS)))
    data = dataset(labels, inputs, fine_labels=fine.astype(np.int32), fine_names=names)
    logits = 6 * np.eye(2)[labels] + random.normal(size=(ROWS, 2))
    weights = random.normal(size=(DIMS, 2))
    single = (array.astype(np.float32) for array in (logits, embedding, weights))
    return data, Answers(f"planted {clusters}", *single)


def texts(words: Sequence[Sequence[str]]) -> np.ndarray:
    """Returns one text of each list of words, [rows] objects."""
    return np.array([" ".join(row) for row in words], object)


@functools.cache
def text_example(clusters: bool) -> tuple[Dataset, Answers]:
    """Returns `example` with a text for each row: common words, and two words of its cluster.

    Without clusters the two words have nothing to do with the embedding.
    """
    data, answers = example(clusters)
    random = np.random.default_rng(11)
    common = np.array([f"common{n}" for n in range(12)])
    own = data.fine_labels if clusters else random.integers(0, 2 * PER_CLASS, ROWS)
    rows = [
        random.permutation([*random.choice(common, 9), f"word{group}", f"term{group}"])
        for group in own
    ]
    fine = {"fine_labels": data.fine_labels, "fine_names": data.fine_names}
    return dataset(data.labels, texts(rows), **fine), answers


@functools.cache
def image_example(clusters: bool, channels: int = 3) -> tuple[Dataset, Answers]:
    """Returns `example` with an image for each row: the pattern of its cluster, and noise.

    Without clusters the pattern has nothing to do with the embedding.
    """
    data, answers = example(clusters)
    random = np.random.default_rng(13)
    patterns = random.integers(0, 256, (2 * PER_CLASS, 6, 5, channels))
    own = data.fine_labels if clusters else random.integers(0, 2 * PER_CLASS, ROWS)
    noise = random.normal(0, 30, (ROWS, 6, 5, channels))
    images = np.clip(patterns[own] + noise, 0, 255).astype(np.uint8)
    fine = {"fine_labels": data.fine_labels, "fine_names": data.fine_names}
    return dataset(data.labels, images, **fine), answers
