"""Folders of images: which files belong to which class and split."""

import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.images import cache, collection
from lelp_jax.data.sources.images.folder import ImageFolder
from tests.helpers import pictures

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
IMAGES, LABELS = pictures.draw(30, 3, 8, channels=1)


def load(folder: Path, **settings: object) -> data.Dataset:
    return data.load(ImageFolder(folder=str(folder), **settings), SPLIT)  # type: ignore[arg-type]


def check_rows(found: data.Dataset, rows: np.ndarray, prefix: str = "") -> None:
    """Checks that each of some rows has the pixels and the class that its name says."""
    assert found.ids is not None
    for row in rows:
        number = int(Path(found.ids[row]).stem)
        name = pictures.CLASSES[LABELS[number]]
        assert str(found.ids[row]).startswith(f"{prefix}{name}/")
        assert found.class_names[found.labels[row]] == name
        np.testing.assert_array_equal(found.inputs[row], IMAGES[number])


def test_classes_are_folders(tmp_path: Path) -> None:
    found = load(pictures.save_folder(tmp_path, IMAGES, LABELS))
    assert found.class_names == ("bars", "rows", "spots")
    assert [len(found.train), len(found.validation), len(found.test)] == [18, 6, 6]
    check_rows(found, np.arange(30))


def test_splits_are_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, part in (("train", slice(0, 18)), ("val", slice(18, 24)), ("test", slice(24, 30))):
        pictures.save_folder(tmp_path / name, IMAGES[part], LABELS[part])
    (tmp_path / "extra").mkdir()
    found = load(tmp_path)
    assert [len(found.train), len(found.validation), len(found.test)] == [18, 6, 6]
    assert "beside train, val, test, these are not read: extra" in caplog.text
    for rows, start in ((found.train, 0), (found.validation, 18), (found.test, 24)):
        numbers = sorted(
            (found.inputs[row] == IMAGES[start:]).all((1, 2, 3)).argmax() for row in rows
        )
        assert numbers == list(range(len(rows)))
        assert found.ids is not None
    assert {str(name).split("/")[0] for name in found.ids[found.test]} == {"test"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    pictures.save_folder(tmp_path, IMAGES[LABELS < 2], LABELS[LABELS < 2])
    (tmp_path / "rows").rename(tmp_path / "train")
    assert load(tmp_path).class_names == ("bars", "train")


def test_folders_in_the_folder_of_a_class(tmp_path: Path) -> None:
    pictures.save_folder(tmp_path, IMAGES, LABELS)
    (tmp_path / "bars").rename(tmp_path / "images")
    (tmp_path / "bars").mkdir()
    (tmp_path / "images").rename(tmp_path / "bars/images")
    found = load(tmp_path)
    assert found.ids is not None
    assert "bars/images/0000.png" in found.ids
    check_rows(found, np.arange(30))


def test_links_are_followed_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pictures.save_folder(tmp_path / "p", IMAGES, LABELS)
    (tmp_path / "p/rows").rename(tmp_path / "elsewhere")
    (tmp_path / "p/rows").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "p/bars/back").symlink_to(tmp_path / "p/bars")
    found = load(tmp_path / "p")
    check_rows(found, np.arange(30))
    assert len(found.inputs) == 30
    assert "1 links to folders that are read already are not read" in caplog.text


def test_numbers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    pictures.save_folder(tmp_path, IMAGES, LABELS)
    for old, new in (("bars", "0"), ("rows", "2"), ("spots", "1")):
        (tmp_path / old).rename(tmp_path / new)
    found = load(tmp_path, class_map=("parity",))
    assert found.class_names == ("even", "odd")
    assert found.fine_names == ("0", "1", "2")
    (tmp_path / "1").rename(tmp_path / "10")
    with pytest.raises(UserError, match=r"class '1' has no labelled training row"):
        load(tmp_path)


def test_a_folder_of_images_without_a_class(tmp_path: Path) -> None:
    pictures.save_folder(tmp_path, IMAGES, LABELS)
    (tmp_path / "spots").rename(tmp_path / "unknown")
    found = load(tmp_path, unlabelled="unknown")
    assert found.class_names == ("bars", "rows")
    assert (found.labels == -1).sum() == 10
    assert len(found.labelled_train) == len(found.train) - 10


def test_files_that_are_not_read_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    pictures.save_folder(tmp_path, IMAGES, LABELS)
    for name in ("bars/Thumbs.db", "rows/.DS_Store", ".hidden/0.png", "bars/.old/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "labels.csv").write_text("a,b")
    (tmp_path / "spots/notes.txt").write_text("a")
    found = load(tmp_path)
    assert len(found.inputs) == 30
    assert "4 hidden files and leftovers of other programs are not read, such as" in caplog.text
    assert f"1 files beside the folders of the classes in {tmp_path} are not read" in caplog.text
    assert f"by their ending are not read, such as {tmp_path}/spots/notes.txt" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: (folder / "cat").mkdir(), "cat holds no image; add some, or remove the f"),
        (lambda folder: None, "holds no folder of a class; put images in "),
        (lambda folder: folder.rmdir(), "p: no such folder; check config.data.folder"),
        (
            lambda folder: pictures.save_folder(folder / "test", IMAGES, LABELS),
            "p/test holds folders, but there are none in ",
        ),
        (
            lambda folder: pictures.save_folder(folder, IMAGES[::3], LABELS[::3]),
            "the training rows have the label 'bars' alone; a classifier needs rows of at least 2",
        ),
        (
            lambda folder: (
                pictures.save_folder(folder / "train", IMAGES[LABELS < 2], LABELS[LABELS < 2]),
                pictures.save_folder(folder / "test", IMAGES, LABELS),
            ),
            "test/spots/0002.png: folder 'spots' is not among the classes; known: bars, rows",
        ),
        (
            lambda folder: [
                pictures.save_folder(folder / name, IMAGES, LABELS)
                for name in ("train", "val", "validation")
            ],
            "are both the validation images; remove one",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, make: object, message: str) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    make(folder)  # type: ignore[operator]
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets everything be kept, and returns where."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(collection, "_SECONDS", -1.0)
    return tmp_path / "cache/lelp_jax/images"


def test_decoded_images_are_kept(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    folder = pictures.save_folder(tmp_path / "p", IMAGES, LABELS)
    first = load(folder, size=(6,))
    assert len(list(kept.glob("*.npz"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", None)
        caplog.clear()
        again = load(folder, size=(6,))
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.inputs, first.inputs)
    assert "30 of 30 images are scaled and cropped to 6x6" in caplog.text
    load(folder)
    assert len(list(kept.glob("*.npz"))) == 2
    # A changed file of the same name, size and time of modification.
    path = folder / "bars/0000.png"
    status, content = path.stat(), path.read_bytes()
    other = pictures.draw(30, 3, 8, channels=1, seed=1)[0][0]
    from PIL import Image

    Image.fromarray(other[..., 0]).save(path)
    path.write_bytes(path.read_bytes().ljust(len(content), b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert load(folder).inputs[0].tolist() == other.tolist()


def test_damaged_and_old_entries(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pictures.save_folder(tmp_path / "p", IMAGES, LABELS)
    first = load(folder)
    (entry,) = kept.glob("*.npz")
    content = entry.read_bytes()
    for damaged in (content[:100], b"", content[:900] + bytes([content[900] ^ 1]) + content[901:]):
        entry.write_bytes(damaged)
        caplog.clear()
        assert load(folder).digest == first.digest
        assert "decoded images are decoded again" in caplog.text
        assert entry.read_bytes() == content


def test_entries_used_least_recently_make_room(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures.save_folder(tmp_path / "p", IMAGES, LABELS)
    for size in (6, 7, 8):
        load(folder, size=(size,))
    entries = sorted(kept.glob("*.npz"))
    largest = max(path.stat().st_size for path in entries)
    monkeypatch.setattr(cache, "_MOST_BYTES", 3 * largest)
    for oldest in (entries[-1], entries[0]):
        for path in kept.glob("*.npz"):
            os.utime(path, (1, 1) if path == oldest else (2, 2))
        load(folder, size=(9 + entries.index(oldest),))
        assert not oldest.exists()
    assert len(list(kept.glob("*.npz"))) in (2, 3)


def test_every_setting_has_its_own_entry(tmp_path: Path, kept: Path) -> None:
    folder = pictures.save_folder(tmp_path / "p", IMAGES, LABELS)
    shapes = [
        load(folder, **settings).inputs.shape[1:]
        for settings in (
            {},
            {"channels": 3},
            {"size": (6, 4)},
            {"size": (6, 4), "resize": "squeeze"},
        )
    ]
    assert shapes == [(8, 8, 1), (8, 8, 3), (6, 4, 1), (6, 4, 1)]
    assert len(list(kept.glob("*.npz"))) == 4


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = pictures.save_folder(tmp_path / "p", IMAGES, LABELS)
    (tmp_path / "cache").write_text("a file")
    assert len(load(folder).inputs) == 30
    assert "decoded images are not kept for later runs (" in caplog.text
    assert len([line for line in caplog.records if line.levelname == "WARNING"]) == 1
