"""How rows of the data are shown: pictures in their own brightness, columns in their own unit."""

import base64
import json

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.data.preprocessing import Preprocessing
from lelp_jax.data.sources.digits import Digits
from lelp_jax.report.explorer import examples
from tests.helpers import planted


def drawn(found: dict) -> np.ndarray:
    pixels = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    return pixels.reshape(-1, *found["shape"])


def test_digits_are_shown_as_pictures_in_their_own_grey_levels():
    from sklearn.datasets import load_digits

    dataset = data.load(Digits(), data.Split((0.6, 0.2, 0.2), 0))
    index = np.array([5, 0, 1796])
    expected = np.round(load_digits().images[index] * 255 / 16)
    np.testing.assert_array_equal(drawn(examples.describe(dataset, index))[..., 0], expected)


@pytest.mark.parametrize(
    ("shape", "shown"), [((5, 4), [5, 4, 1]), ((5, 4, 3), [5, 4, 3]), ((5, 4, 1), [5, 4, 1])]
)
def test_rows_of_an_image_shape_are_pictures(shape: tuple[int, ...], shown: list[int]):
    inputs = np.random.default_rng(0).integers(0, 256, (6, *shape)) - 7.0
    inputs.ravel()[:2] = -7, 248
    dataset = planted.dataset(np.arange(6) % 2, inputs)
    found = examples.describe(dataset, np.arange(6))
    assert found["shape"] == shown
    np.testing.assert_array_equal(drawn(found).reshape(inputs.shape), inputs + 7)


def test_large_pictures_are_thinned_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examples, "_MOST_BYTES", 100)
    inputs = np.tile(np.arange(12.0)[:, None], (2, 1, 12))
    found = examples.describe(planted.dataset(np.arange(2), inputs), np.arange(2))
    assert found["shape"] == [6, 6, 1]
    assert drawn(found)[1, :, 3, 0].tolist() == [0, 51, 102, 153, 204, 255]


def test_columns_are_shown_by_name_in_their_own_unit():
    raw = np.arange(60.0).reshape(4, 15) * 1000 / 3
    scale = np.where(np.arange(15) == 1, 0, 0.25).astype(np.float32)
    shift = np.full(15, 7, np.float32)
    names = tuple(f"<{n}>" for n in range(15))
    prepared = Preprocessing(shift, scale, names)
    dataset = planted.dataset(np.arange(4) % 2, prepared(raw), preprocessing=prepared)
    found = examples.describe(dataset, np.array([3, 1]))
    assert found["names"] == list(names[:12])
    assert found["more"] == 3
    # A column that is constant in training is given by its value there.
    expected = np.where(np.arange(12) == 1, 7, raw[[3, 1], :12])
    np.testing.assert_allclose(found["values"], expected, rtol=5e-4)
    assert found["values"][0][0] == 15000


def test_features_without_names_are_numbered():
    bare = planted.dataset(
        np.arange(4) % 2,
        np.eye(4)[:, :3],
        preprocessing=Preprocessing(np.float32(0), np.float32(2)),
    )
    found = examples.describe(bare, np.array([1]))
    assert found == {
        "names": ["feature 0", "feature 1", "feature 2"],
        "values": [[0, 0.5, 0]],
        "more": 0,
    }


def test_rounding_keeps_four_digits():
    values = np.array([[123456.7, -0.000123456], [0.0, 1e-30]])
    assert examples.round_floats(values) == [[123500.0, -0.0001235], [0.0, 1e-30]]
    assert examples.round_floats(np.empty((0, 2))) == []


def of_texts(*texts: str, index: list[int]) -> list[str]:
    dataset = planted.dataset(np.arange(len(texts)) % 2, np.array(texts, object))
    found = examples.describe(dataset, np.array(index))
    assert list(found) == ["texts"]
    return found["texts"]


def test_texts_are_shown_as_they_are():
    texts = ("", "a  b\n\tc ", "<b>\"&'", "שלום 😀", "\ud800")
    assert of_texts(*texts, index=[4, 0, 3, 2, 1]) == [texts[n] for n in (4, 0, 3, 2, 1)]


def test_long_texts_end_in_an_ellipsis():
    whole, longer = "a" * 1000, "b" * 1001
    assert of_texts(whole, longer, index=[0, 1]) == [whole, longer[:1000] + "…"]


def test_many_long_texts_are_cut_further(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(examples, "_MOST_BYTES", 5000)
    short, *long = of_texts("ab", *["😀" * 400] * 9, index=list(range(10)))
    assert short == "ab"
    assert set(long) == {"😀" * (len(long[0]) - 1) + "…"}
    # A picture of that kind takes twelve bytes in the page.
    assert 3000 < len(json.dumps(long)) < 5000
    monkeypatch.setattr(examples, "_MOST_BYTES", 1)
    assert of_texts("a", "bc", index=[0, 1]) == ["a", "b…"]


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shown_with_their_pixels_as_they_are(channels: int):
    images = np.random.default_rng(0).integers(40, 90, (6, 5, 4, channels)).astype(np.uint8)
    dataset = planted.dataset(np.arange(6) % 2, images)
    found = examples.describe(dataset, np.array([4, 0]))
    assert found["shape"] == [5, 4, channels]
    np.testing.assert_array_equal(drawn(found), images[[4, 0]])
