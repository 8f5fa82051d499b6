"""Images in .npz files."""

import logging
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.images.arrays import ImageArrays

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (40, 5, 4), np.uint8)
COLOUR = RANDOM.integers(0, 256, (40, 5, 4, 3), np.uint8)
DIGITS = (np.arange(40) % 4).astype(np.uint8)


def load(folder: Path, settings: dict | None = None, **arrays: np.ndarray) -> data.Dataset:
    """Loads a file of 40 right training rows, some arrays of which are replaced or removed."""
    given = {"x_train": GREY, "y_train": DIGITS, **arrays}
    kept = {key: value for key, value in given.items() if value is not None}
    np.savez(folder / "a.npz", **kept)  # type: ignore[arg-type]
    return data.load(ImageArrays(file=str(folder / "a.npz"), **(settings or {})), SPLIT)


def test_splits_of_the_file_are_kept(tmp_path: Path) -> None:
    test, validation = GREY[:9][::-1], GREY[5:12]
    found = load(
        tmp_path,
        x_train=GREY[..., None],
        y_train=DIGITS[:, None],
        x_test=test,
        y_test=DIGITS[:9][::-1],
        x_validation=validation,
        y_validation=DIGITS[5:12],
    )
    assert found.of_images
    assert not found.of_texts
    assert (found.inputs.dtype, found.inputs.shape) == (np.uint8, (56, 5, 4, 1))
    for rows, images, labels in (
        (found.train, GREY, DIGITS),
        (found.validation, validation, DIGITS[5:12]),
        (found.test, test, DIGITS[:9][::-1]),
    ):
        np.testing.assert_array_equal(found.inputs[rows][..., 0], images)
        np.testing.assert_array_equal(found.labels[rows], labels)
    assert found.class_names == ("0", "1", "2", "3")
    assert found.preprocessing is None


def test_keys_of_medmnist(tmp_path: Path) -> None:
    arrays = {"x_train": None, "y_train": None}
    for split, part in (("train", slice(0, 24)), ("val", slice(24, 32)), ("test", slice(32, 40))):
        arrays |= {f"{split}_images": COLOUR[part], f"{split}_labels": DIGITS[part, None]}
    found = load(tmp_path, **arrays)  # type: ignore[arg-type]
    assert [len(rows) for rows in (found.train, found.validation, found.test)] == [24, 8, 8]
    np.testing.assert_array_equal(found.inputs[found.test], COLOUR[32:])


def test_names_fine_labels_and_ids(tmp_path: Path) -> None:
    names = np.array(["cat", "dog"])[DIGITS % 2]
    ids = np.array([f"r{row}" for row in range(40)])
    found = load(tmp_path, y_train=names, fine_train=DIGITS, ids_train=ids)
    assert (found.class_names, found.fine_names) == (("cat", "dog"), ("0", "1", "2", "3"))
    assert found.ids is not None
    assert found.ids.tolist() == ids.tolist()
    np.testing.assert_array_equal(found.fine_labels, DIGITS)
    found = load(tmp_path, {"label_names": ("a", "b", "c", "d"), "class_map": ("parity",)})
    assert (found.class_names, found.fine_names) == (("even", "odd"), ("a", "b", "c", "d"))
    np.testing.assert_array_equal(found.labels, DIGITS % 2)
    np.testing.assert_array_equal(found.fine_labels, DIGITS)
    found = load(tmp_path, {"class_map": ("0=x", "1=y", "2=y", "3=y")})
    assert found.class_names == ("x", "y")
    np.testing.assert_array_equal(found.labels, DIGITS > 0)


def test_rows_without_a_label_train_only(tmp_path: Path) -> None:
    labels = np.where(np.arange(40) < 3, -1, DIGITS.astype(int))
    found = load(tmp_path, y_train=labels)
    assert (found.labels == -1).sum() == 3
    assert set(range(3)) <= set(found.train.tolist())


def test_channels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from PIL import Image

    caplog.set_level(logging.INFO)
    mixed = {"x_train": COLOUR, "x_test": GREY[:8], "y_test": DIGITS[:8]}
    found = load(tmp_path, **mixed)
    assert found.inputs.shape[-1] == 3
    np.testing.assert_array_equal(found.inputs[found.test], np.stack([GREY[:8]] * 3, -1))
    assert "x_test: 8 grey images are converted to colour" in caplog.text
    found = load(tmp_path, {"channels": 1}, **mixed)
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in COLOUR]
    np.testing.assert_array_equal(found.inputs[:40, ..., 0], expected)
    assert "x_train: 40 coloured images are converted to grey" in caplog.text
    assert load(tmp_path, {"channels": 3}).inputs.shape[-1] == 3


@pytest.mark.parametrize(
    ("pixels", "expected", "note"),
    [
        (GREY.astype(np.int64), GREY, "int64 in 0..255 is converted to uint8"),
        (GREY.astype(np.uint16), GREY, "uint16 in 0..255 is converted to uint8"),
        (GREY.astype(np.uint16) * 257, GREY, "images of 16 bits are divided by 257"),
        (GREY // 16, GREY // 16, "the largest pixel is 15 of 255"),
    ],
)
def test_other_types(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    pixels: np.ndarray,
    expected: np.ndarray,
    note: str,
) -> None:
    caplog.set_level(logging.INFO)
    found = load(tmp_path, x_train=pixels)
    np.testing.assert_array_equal(found.inputs[..., 0], expected)
    assert note in caplog.text


def test_16_bits_are_rounded_to_the_nearest() -> None:
    from lelp_jax.data.sources.images.pixel_arrays import scale_16_bits

    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(every.astype(np.float64) / 257).astype(np.uint8)
    np.testing.assert_array_equal(scale_16_bits(every), expected)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": GREY / np.float32(255)}, "0..1: save numpy.round(255 * images).astype(num"),
        ({"x_train": GREY / 127.5 - 1}, "save numpy.round(127.5 * (images + 1)).astype"),
        ({"x_train": GREY.astype(np.float32)}, "0..255: save numpy.round(images).astype"),
        ({"x_train": GREY * 3.0}, "undo their scaling"),
        ({"x_train": GREY > 99}, "of type bool; whole numbers in 0..255 are needed; save numpy.u"),
        ({"x_train": GREY.astype(np.int64) - 1}, "pixel -1 is outside 0..255; scale the images"),
        ({"x_train": GREY.astype(np.int32) * 2}, "is outside 0..255; scale the images"),
        ({"x_train": GREY % 2}, "the largest pixel is 1, which is hardly told from black"),
        ({"x_train": COLOUR.transpose(0, 3, 1, 2)}, "needed: save x_train.transpose(0, 2, 3, 1)"),
        ({"x_train": np.zeros((40, 5, 4, 4), np.uint8)}, "leave out transparency with x_train[..."),
        ({"x_train": np.zeros((40, 5, 4, 7), np.uint8)}, "choose 1 or 3 of the 7 channels"),
        ({"x_train": GREY.reshape(40, -1)}, "as x_train.reshape(-1, HEIGHT, WIDTH, CHANNELS), or"),
        ({"x_train": GREY[None, ..., None]}, "shape (1, 40, 5, 4, 1); [rows, height, width"),
        ({"x_train": GREY[:0], "y_train": DIGITS[:0]}, "it holds no pixels"),
        ({"y_train": DIGITS[:39]}, "y_train has shape (39,), but x_train has 40 rows; one value"),
        ({"y_train": np.eye(4)[DIGITS]}, "if they are one-hot, save y_train.argmax(axis=1)"),
        ({"y_train": DIGITS * 0.5}, "x_train row 1: y_train 0.5 is not a whole number"),
        ({"y_train": np.zeros(40, "M8[s]")}, "y_train is of type datetime64[s]; whole numbers"),
        ({"y_train": None}, "key 'y_train' is missing; it holds 'x_train'"),
        ({"x_test": GREY}, "key 'y_test' is missing beside x_test"),
        ({"y_test": DIGITS}, "y_test has no images: 'x_test'"),
        ({"x_val": GREY, "y_val": DIGITS}, "key 'x_val' is none of those that are read; rename"),
        (
            {"x_test": COLOUR[:, :4], "y_test": DIGITS},
            "images of x_test are 4x4, those of x_train 5x4; bring all to one height and width",
        ),
        (
            {"x_test": GREY, "y_test": DIGITS, "fine_test": DIGITS},
            "key 'fine_train' is missing, but there is 'fine_test'; give both or neither",
        ),
        ({"x_test": GREY, "y_test": DIGITS + 9}, "x_test row 0: y_test 9 is outside 0..3"),
        ({"y_train": DIGITS * 0}, "a classifier needs rows of at least 2 classes"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, arrays: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(tmp_path, **arrays)
    assert "\n" not in str(caught.value)


def test_memory_is_that_of_two_copies(tmp_path: Path) -> None:
    images = RANDOM.integers(0, 256, (20000, 16, 16, 3), np.uint8)
    labels = np.arange(20000) % 3
    file = tmp_path / "a.npz"
    np.savez(file, x_train=images, y_train=labels, x_test=images[:5000], y_test=labels[:5000])
    size = images.nbytes * 1.25
    tracemalloc.start()
    data.load(ImageArrays(file=str(file)), SPLIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2.2 * size
