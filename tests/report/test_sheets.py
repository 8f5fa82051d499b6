"""Sheets of example images: what is on them, how large they are, and any name of a class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lelp_jax.data.dataset import Dataset
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report.diagnostics.nearest import MOST_ROWS, find_nearest
from lelp_jax.report.explorer.page import render_markdown
from lelp_jax.report.figures import pictures, sheets
from lelp_jax.report.results.disagreement import Answer, Disputed
from lelp_jax.report.results.markdown import render_gallery
from tests.helpers import planted

HOSTILE = ("_a $\\frac{x}$", "</td><b>|`*_[x](y)\n# z", "W" * 99)


def read(path: Path) -> np.ndarray:
    """Returns the colours of a PNG file, [height, width, 3]."""
    with Image.open(path) as picture:
        picture.verify()
    assert path.stat().st_size < 300_000
    return np.asarray(Image.open(path).convert("RGB"))


def rows_of(embedding: np.ndarray, **fields: Any) -> EmbeddedRows:
    """Returns rows of the class 0 with their embedding."""
    count = len(embedding)
    index = fields.pop("index", np.arange(count))
    return EmbeddedRows(embedding.astype(np.float32), index, np.zeros(count, np.int32), **fields)


class Scores:
    """A projection whose scores are the embedding itself."""

    def __init__(self, classes: int, subclasses: int) -> None:
        self.column_mask = np.ones((classes, subclasses), bool)

    def scores(self, rows: Any) -> np.ndarray:
        return np.asarray(rows.embedding).reshape(len(rows), *self.column_mask.shape)


def images(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)


def dataset(count: int, *shape: int, names: tuple[str, ...] = ("a", "b")) -> Dataset:
    return planted.dataset(np.arange(count) % len(names), images(count, *shape), class_names=names)


# Rows nearest to a pseudo-subclass.


def test_nearest_rows_score_highest_in_their_own_pseudo_subclass() -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(60, 2, 3))
    # A pseudo-subclass that no row belongs to.
    scores[:, 1, 2] = -9
    scores[:, 1, 1] += 1
    index = random.permutation(600)[:60]
    fine = random.integers(-1, 3, 60)
    rows = rows_of(scores.reshape(60, 6), index=index, fine_label=fine)
    found = find_nearest(Scores(2, 3), rows, 1)
    winner = scores[:, 1].argmax(axis=1)
    assert [entry["share"] for entry in found] == [(winner == n).mean() for n in range(3)]
    for number, entry in enumerate(found[:2]):
        own = sorted(np.flatnonzero(winner == number), key=lambda row: -scores[row, 1, number])
        assert len(own) > MOST_ROWS
        assert entry["rows"] == [index[row] for row in own[:MOST_ROWS]]
        known = [fine[row] for row in own if fine[row] >= 0]
        counts = [known.count(value) for value in range(3)]
        assert entry["fine"] == int(np.argmax(counts))
        assert entry["fine_share"] == max(counts) / len(known)
    assert found[2] == {"share": 0, "rows": [], "fine": None, "fine_share": None}


def test_a_class_without_rows_has_no_nearest() -> None:
    rows = rows_of(np.ones((4, 6)))
    assert find_nearest(Scores(2, 3), rows.part(slice(0)), 0) == []
    (only,) = find_nearest(Scores(1, 1), rows_of(np.ones((4, 1))), 0)
    assert only == {"share": 1, "rows": [0, 1, 2, 3], "fine": None, "fine_share": None}


# Sheets.


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((32, 32, 3), (96, 96)),
        ((28, 28, 1), (84, 84)),
        ((3, 5, 1), (57, 95)),
        ((224, 112, 3), (96, 48)),
        ((1, 500, 1), (1, 96)),
    ],
)
def test_images_are_enlarged_a_whole_number_of_times_or_reduced(
    shape: tuple[int, ...], drawn: tuple[int, int]
) -> None:
    (image,) = images(1, *shape)
    found = sheets.fit_into_tile(image)
    assert found.shape == (*drawn, 3)
    if max(shape) <= sheets.TILE:
        times = drawn[0] // shape[0]
        small = found[::times, ::times]
        np.testing.assert_array_equal(small, np.broadcast_to(image, small.shape))
        np.testing.assert_array_equal(found, np.kron(small, np.ones((times, times, 1))))
    else:
        # Averages over the pixels that become one.
        assert abs(found.mean() - image.mean()) < 10
        assert found.std() < image.std()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_of_rows_holds_the_pixels_of_its_images(channels: int) -> None:
    first, second = images(2, 32, 24, channels)
    sheets.draw_rows(Path("rows.png"), [first[None], np.stack([second, first])], ["a", "b"])
    found = read(Path("rows.png"))
    assert found.shape == (12 + 2 * (96 + 6) + 12, 12 + 190 + 2 * (96 + 6) + 12, 3)
    for row, column, image in ((0, 0, first), (1, 0, second), (1, 1, first)):
        top, left = 12 + row * 102, 12 + 190 + column * 102 + 12
        tile = found[top : top + 96 : 3, left : left + 72 : 3]
        np.testing.assert_array_equal(tile, np.broadcast_to(image, (32, 24, 3)))
    # Nothing is drawn where the first row has no second image.
    assert (found[12:108, 12 + 190 + 102 :] == 255).all()


def test_sheets_are_small_files_even_of_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = images(80, 32, 32, 3)
    sheets.draw_rows(Path("rows.png"), list(noise.reshape(10, 8, 32, 32, 3)), ["name"] * 10)
    assert read(Path("rows.png")).std() > 20
    answers = [sheets.Caption("even: kd, lelp", True), sheets.Caption("odd: labels", False)]
    examples = [sheets.Example(image, "even", answers) for image in noise[:24]]
    sheets.draw_examples(Path("examples.png"), examples)
    found = read(Path("examples.png"))
    assert found.shape == (12 + 8 * (96 + 12) + 12, 12 + 3 * (96 + 6 + 250) + 12, 3)
    # Eight images in the place of 80.
    monkeypatch.setattr(sheets, "_MOST_BYTES", 29_000)
    sheets.draw_rows(Path("few.png"), [images(8, 96, 96, 3)], ["name"])
    assert read(Path("few.png")).std() > 20
    assert Path("few.png").stat().st_size < 29_000


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Returns the figures that are saved from here on."""
    result: list[Figure] = []
    save = sheets._save
    monkeypatch.setattr(sheets, "_save", lambda fig, path: result.append(fig) or save(fig, path))
    return result


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def test_an_image_is_shown_with_its_class_and_what_methods_say(figures: list[Figure]) -> None:
    (image,) = images(1, 8, 8, 1)
    few = [sheets.Caption("b: kd, lelp", False), sheets.Caption("a: labels", True)]
    many = [sheets.Caption(f"class {n}: method", n == 3) for n in range(7)]
    long = [sheets.Caption("a: " + ", ".join(["method"] * 30), True), *few]
    examples = [sheets.Example(image, "a", answers) for answers in (few, many, long)]
    sheets.draw_examples(Path("a.png"), examples)
    shown = texts(figures[0])
    assert shown[:3] == ["class a", "b: kd, lelp", "a: labels"]
    assert [text.get_color() for text in figures[0].texts[1:3]] == [sheets._WRONG, sheets._RIGHT]
    assert shown[3:8] == [
        "class a",
        *(f"class {n}: method" for n in range(3)),
        "and 4 other answers",
    ]
    assert shown[8] == "class a"
    assert shown[9].startswith("a: method, method")
    assert shown[10].endswith("…")
    assert shown[11:] == ["b: kd, lelp", "a: labels"]


def test_any_name_of_a_class_fits_beside_the_images(
    figures: list[Figure], recwarn: pytest.WarningsRecorder
) -> None:
    data = dataset(12, 4, 4, 3, names=HOSTILE)
    disputed = [Disputed(row, (Answer(0, ("kd",)), Answer(1, ("lelp",)))) for row in range(3)]
    gallery = pictures.draw_disputed(Path(), data, disputed)
    nearest = {"share": 0.5, "rows": [3, 6], "fine": 2, "fine_share": 0.25}
    facts = {"classes": [{"name": name, "nearest": [nearest]} for name in HOSTILE]}
    galleries = [gallery, pictures.draw_nearest(Path(), data_with_fine(data), facts)]
    for figure in figures:
        edge = figure.bbox.width
        tiles = [image.get_window_extent() for image in figure.images]
        for text in figure.texts:
            extent = text.get_window_extent()
            assert extent.x1 < edge
            assert not any(extent.overlaps(tile) for tile in tiles), text.get_text()
    assert texts(figures[1])[0] == "1: 50.0 %"
    assert texts(figures[1])[1].startswith("fine label WWW")
    assert texts(figures[1])[1].endswith("…")
    assert not recwarn.list
    for gallery in galleries:
        page = render_markdown(render_gallery(gallery).text)
        assert page.count("<img") == len(gallery.pictures)
        assert "<b>" not in page
        assert "<a " not in page
    files = ["disagreement.png", "nearest_0.png", "nearest_1.png", "nearest_2.png"]
    assert [picture.file for gallery in galleries for picture in gallery.pictures] == files
    for file in files:
        read(Path(file))


def data_with_fine(data: Dataset) -> Dataset:
    fine = np.zeros(len(data.labels), np.int32)
    return planted.dataset(
        data.labels, data.inputs, class_names=HOSTILE, fine_labels=fine, fine_names=HOSTILE
    )


def test_sheets_of_ten_classes_at_most_and_of_none_without_rows(figures: list[Figure]) -> None:
    names = tuple(f"class {n}" for n in range(13))
    data = dataset(26, 2, 2, 1, names=names)
    nearest = {"share": 1.0, "rows": [1], "fine": None, "fine_share": None}
    classes: list[dict[str, Any]] = [{"name": name, "nearest": [nearest]} for name in names]
    classes[1]["nearest"] = []
    gallery = pictures.draw_nearest(Path(), data, {"classes": classes})
    numbers = [0, *range(2, 11)]
    assert [picture.file for picture in gallery.pictures] == [f"nearest_{n}.png" for n in numbers]
    assert gallery.pictures[1].caption == "Class class 2: images nearest to its 1 pseudo-subclass"
    assert "The first 10 of 12 classes" in gallery.introduction
    assert "fine label" not in gallery.introduction
    assert texts(figures[0]) == ["1: 100.0 %"]
    little = pictures.draw_nearest(Path(), data, {"classes": classes[:2]})
    assert "The first" not in little.introduction
    assert not pictures.draw_nearest(Path(), data, {"classes": classes[1:2]}).pictures


def test_at_most_24_disputed_images_are_drawn(figures: list[Figure]) -> None:
    data = dataset(60, 2, 2, 1)
    disputed = [Disputed(row, (Answer(0, ("kd",)), Answer(1, ("lelp",)))) for row in range(60)]
    for count, shown in ((0, 0), (1, 1), (24, 24), (60, 24)):
        gallery = pictures.draw_disputed(Path(), data, disputed[:count])
        assert len(gallery.pictures) == (count > 0)
        if count:
            assert len(figures.pop().images) == shown
            assert f"{shown} most disputed of {count} test" in gallery.pictures[0].caption
