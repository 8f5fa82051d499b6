"""Images prepared by TensorFlow Datasets, read without TensorFlow."""

import dataclasses
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.images import collection
from lelp_jax.data.sources.images.tfds import ImageTfds
from tests.helpers import pictures, prepared_tfds

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
IMAGES, LABELS = pictures.draw(40, 4, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Holds small data sets as TFDS prepares them."""
    import tensorflow_datasets as tfds

    place = str(tmp_path_factory.mktemp("tfds"))
    features = tfds.features

    def encode(row: int, channels: int = 3) -> io.BytesIO:
        # The content of a file is taken as it is; arrays would be encoded by TensorFlow.
        stream = io.BytesIO()
        image = IMAGES[row] if channels == 3 else IMAGES[row, ..., 0]
        Image.fromarray(image).save(stream, "PNG")
        stream.seek(0)
        return stream

    def rows(part: range, **extra: object) -> list[dict]:
        return [{"image": encode(row), "label": LABELS[row], "id": str(row)} for row in part]

    image, text = features.Image(shape=(8, 8, 3)), features.Text()
    label = features.ClassLabel(names=list(pictures.CLASSES))
    spec = {"image": image, "label": label, "id": text}
    prepared_tfds.prepare(
        place, "shapes", spec, {"train": rows(range(30)), "test": rows(range(30, 40))}
    )
    coarse = features.ClassLabel(names=["a", "b"])
    both = [{**row, "coarse": row["label"] // 2} for row in rows(range(40))]
    prepared_tfds.prepare(place, "two_labels", {**spec, "coarse": coarse}, {"train": both})
    grey = [{"image": encode(row, 1), "label": LABELS[row]} for row in range(40)]
    prepared_tfds.prepare(
        place, "grey", {"image": features.Image(shape=(8, 8, 1)), "label": label}, {"train": grey}
    )
    prepared_tfds.prepare(
        place,
        "two_images",
        {"image": image, "mask": image, "label": label},
        {"train": [{"image": encode(0), "mask": encode(1), "label": 0}]},
    )
    broken = io.BytesIO(encode(0).read()[:90])
    prepared_tfds.prepare(
        place, "broken", spec, {"train": [*rows(range(9)), {**rows(range(1))[0], "image": broken}]}
    )
    return place


def load(folder: str, name: str, **settings: object) -> data.Dataset:
    return data.load(ImageTfds(name=name, data_dir=folder, **settings), SPLIT)  # type: ignore[arg-type]


def find_numbers(images: np.ndarray) -> np.ndarray:
    """Finds which picture each image is."""
    return (images[:, None] == IMAGES[..., : images.shape[-1]]).all((2, 3, 4)).argmax(axis=1)


def test_images_of_all_splits(folder: str) -> None:
    found = load(folder, "shapes")
    assert found.class_names == pictures.CLASSES
    numbers = find_numbers(found.inputs)
    assert sorted(numbers.tolist()) == list(range(40))
    np.testing.assert_array_equal(found.labels, LABELS[numbers])
    assert set(numbers[found.test].tolist()) == set(range(30, 40))
    assert len(found.validation) == 6
    assert "tensorflow" not in sys.modules
    assert load(folder, "grey").inputs.shape == (40, 8, 8, 1)


def test_coarse_and_fine_labels_and_parity(folder: str) -> None:
    found = load(folder, "two_labels", label="coarse", fine_label="label")
    assert (found.class_names, found.fine_names) == (("a", "b"), pictures.CLASSES)
    numbers = find_numbers(found.inputs)
    np.testing.assert_array_equal(found.labels, LABELS[numbers] // 2)
    np.testing.assert_array_equal(found.fine_labels, LABELS[numbers])
    found = load(folder, "shapes", class_map=("parity",), size=(4, 4))
    assert found.inputs.shape[1:] == (4, 4, 3)
    assert (found.class_names, found.fine_names) == (("even", "odd"), pictures.CLASSES)
    np.testing.assert_array_equal(found.labels, np.asarray(found.fine_labels) % 2)


def test_kept_images_are_those_of_their_rows(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(collection, "_SECONDS", -1.0)
    usual = ImageTfds(name="shapes", data_dir=folder)
    swapped = dataclasses.replace(usual, train="test", test="train")
    decoded = [source.parts() for source in (usual, swapped)]
    monkeypatch.setattr(Image, "open", None)
    for source, first in zip((usual, swapped), decoded, strict=True):
        again = source.parts()
        assert first.test is not None
        assert again.test is not None
        np.testing.assert_array_equal(again.train.inputs, first.train.inputs)
        np.testing.assert_array_equal(again.test.inputs, first.test.inputs)
    assert [len(parts.train.inputs) for parts in decoded] == [30, 10]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("two_images", {}, "several columns of images; name one with --config.data.image=NAME: i"),
        ("two_labels", {}, "several columns of classes; name one with --config.data.label=NAME: c"),
        ("shapes", {"image": "id"}, "column id: it holds "),
        ("shapes", {"image": "imgae"}, "did you mean 'image'?"),
        ("shapes", {"image": "label", "label": "label"}, "image and label are both 'label'"),
        ("shapes", {"train": "test", "test": "test"}, "train and test are both 'test'; name two"),
        ("shapes", {"size": (1, 2, 3)}, "size is (1, 2, 3); give height and width, or one number"),
        ("broken", {}, "is damaged ("),
    ],
)
def test_mistakes_are_named(folder: str, name: str, settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(folder, name, **settings)
    assert "\n" not in str(caught.value)
    if name == "broken":
        assert str(caught.value).startswith("broken/1.0.0 train row ")
