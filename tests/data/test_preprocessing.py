"""Numbers keep their information on the way to float32, whatever their size and type."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.preprocessing import Preprocessing, standardization
from lelp_jax.data.sources.arrays import Arrays

SPLIT = data.Split((0.6, 0.2, 0.2), 0)


@pytest.mark.parametrize("same_unit", [False, True])
@pytest.mark.parametrize("offset", [0, 2**24, 1_700_000_000, 2**45])
@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.float64])
def test_an_offset_changes_nothing(offset: int, kind: type, same_unit: bool) -> None:
    small = np.random.default_rng(0).integers(0, 1000, (200, 3))
    expected = standardization(small, same_unit=same_unit)(small)
    raw = (small + offset).astype(kind)
    found = standardization(raw, same_unit=same_unit)(raw)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert found.dtype == np.float32


@given(st.integers(-(2**63), 2**63 - 2000), st.lists(st.integers(0, 1000), min_size=2, max_size=40))
def test_whole_numbers_that_float64_would_round_keep_their_differences(
    offset: int, small: list[int]
) -> None:
    raw = np.array([[offset + number] for number in small], np.int64)
    scaling = Preprocessing(np.array([float(offset)]), np.array([1.0]))
    exact = np.array([offset + number - int(float(offset)) for number in small], np.float32)
    np.testing.assert_array_equal(scaling(raw)[:, 0], exact)


def test_nanoseconds_tell_two_classes_apart() -> None:
    label = np.arange(400) % 2
    raw = 1_700_000_000_123_456_789 + 90 * label + np.random.default_rng(0).integers(0, 40, 400)
    inputs = standardization(raw[:, None], same_unit=True)(raw[:, None])[:, 0]
    assert inputs[label == 0].max() < inputs[label == 1].min()
    unsigned = raw.astype(np.uint64)[:, None]
    np.testing.assert_array_equal(standardization(unsigned, same_unit=True)(unsigned)[:, 0], inputs)


@pytest.mark.parametrize("kind", ["?", "i1", "u1", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 2, 2)])
def test_scaling_is_that_of_scikit_learn(kind: str, shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(0).integers(0, 2 if kind == "?" else 100, (50, *shape)).astype(kind)
    found = standardization(raw, same_unit=True)
    expected = StandardScaler().fit_transform(raw.reshape(50, -1).astype(np.float64))
    np.testing.assert_allclose(found(raw).reshape(50, -1), expected, atol=1e-5)
    # Many rows are computed in parts.
    many = np.tile(raw, (1000, *[1] * len(shape)))
    np.testing.assert_array_equal(found(many)[-50:], found(raw))


@pytest.mark.parametrize("count", [3, 100_000])
@pytest.mark.parametrize("value", [0.1, -1e-30, 1.7e9 + 1 / 3, 1e30])
def test_a_constant_is_constant_however_many_rows_are_summed(value: float, count: int) -> None:
    raw = np.full((count, 2), value)
    raw[:, 1] = np.arange(count)
    assert standardization(raw, same_unit=False).scale[0] == 0


def test_a_feature_in_a_small_unit_is_no_noise() -> None:
    random = np.random.default_rng(0)
    raw = random.normal(size=(100, 3)) * [1e9, 1e-3, 1] + [1e10, 0, 0]
    assert standardization(raw, same_unit=True).scale.all()


def test_rows_of_another_shape_are_refused() -> None:
    raw = np.random.default_rng(0).normal(size=(10, 2, 3))
    scaling = standardization(raw, same_unit=True)
    for wrong in (raw[:, :, :1], raw[:, :1], raw.reshape(10, 6), raw[0]):
        with pytest.raises(UserError, match=r"shape .*; give an array \[rows, 2, 3\]"):
            scaling(wrong)


def test_features_that_are_dropped_are_named(caplog: pytest.LogCaptureFixture) -> None:
    inputs = np.random.default_rng(0).normal(size=(100, 40))
    inputs[:, 5:30] = 7
    np.savez("t.npz", inputs=inputs, labels=np.arange(100) % 2)
    with caplog.at_level(logging.INFO, "lelp_jax"):
        data.load(Arrays("t.npz"), SPLIT)
    [line] = caplog.messages
    assert line.startswith("25 of 40 features are constant over the training rows and so set to 0:")
    assert line.endswith(": 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, ... (25 in all)")


def test_an_array_of_times_tells_two_classes_apart() -> None:
    label = np.arange(200) % 2
    seconds = 1.7e9 + 90 * label + 20 * np.random.default_rng(0).normal(size=200).clip(-2, 2)
    np.savez("t.npz", inputs=np.stack([seconds, np.arange(200) % 7], axis=1), labels=label)
    dataset = data.load(Arrays("t.npz"), SPLIT)
    assert dataset.inputs[label == 0, 0].max() < dataset.inputs[label == 1, 0].min()
