"""Images that are in a data set twice."""

import logging
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.data.sources.images.arrays import ImageArrays
from tests.helpers import pictures

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
IMAGES, LABELS = pictures.draw(40, 2, 8)


def messages(folder: Path, caplog: pytest.LogCaptureFixture, **arrays: np.ndarray) -> list[str]:
    """Loads an .npz file and returns what is warned of."""
    given = {"x_train": IMAGES[:30], "y_train": LABELS[:30], **arrays}
    np.savez(folder / "a.npz", **given)  # type: ignore[arg-type]
    caplog.set_level(logging.WARNING)
    data.load(ImageArrays(file=str(folder / "a.npz")), SPLIT)
    return [record.getMessage() for record in caplog.records]


def test_nothing_is_said_where_all_differ(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not messages(tmp_path, caplog)
    # The same image several times in the training rows is no mistake.
    own = {"x_test": IMAGES[30:], "y_test": LABELS[30:]}
    own |= {"x_validation": IMAGES[20:30], "y_validation": LABELS[20:30]}
    twice = np.concatenate([IMAGES[:20]] * 2)
    labels = np.concatenate([LABELS[:20]] * 2)
    assert not messages(tmp_path, caplog, x_train=twice, y_train=labels, **own)


def test_test_images_among_the_training_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = messages(tmp_path, caplog, x_test=IMAGES[27:], y_test=LABELS[27:])
    file = tmp_path / "a.npz"
    # The training rows of the file are divided: what the test rows repeat may be in both parts.
    assert found
    assert sum(int(text.split()[0]) for text in found) == 3
    assert all(" of 13 test images are also among the " in text for text in found)
    assert f"such as {file} x_test row " in found[0]
    assert ", which is " in found[0]
    number = int(found[0].split("x_test row ")[1].split(",")[0])
    assert f"which is {file} x_train row {number + 27}; remove" in found[0]


def test_images_that_the_split_itself_tears_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    twice, labels = np.concatenate([IMAGES] * 2), np.concatenate([LABELS] * 2)
    found = messages(tmp_path, caplog, x_train=twice, y_train=labels)
    kinds = [text.split(" images")[0].split(" ", 3)[3] for text in found]
    assert kinds == ["validation", "test", "test"]


def test_one_image_under_two_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = IMAGES[:30].copy()
    images[1], images[3], images[5] = images[0], images[0], images[2]
    labels = LABELS[:30].copy()
    labels[2] = -1  # Of the pair 2 and 5 one has no label.
    found = messages(tmp_path, caplog, x_train=images, y_train=labels)
    file = tmp_path / "a.npz"
    assert (
        f"1 images are there under two labels, such as {file} x_train row 0 (0), which is "
        f"{file} x_train row 1 (1); remove the wrong ones"
    ) in found
