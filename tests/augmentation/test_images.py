"""An image's changes depend on its key and on itself alone."""

import dataclasses
import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.augmentation.config import Augmentation, check
from lelp_jax.augmentation.images import augment_images
from lelp_jax.core import sections
from lelp_jax.core.errors import UserError
from tests.helpers.processes import run_script

EVERYTHING = Augmentation(
    crop=2,
    flip=0.5,
    randaugment_layers=2,
    randaugment_magnitude=9,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    cutout=3,
)
augment = jax.jit(augment_images, static_argnums=0)


def make_batch(channels: int = 3) -> tuple[jax.Array, np.ndarray]:
    """Makes keys and images, 16 of each."""
    images = np.random.default_rng(0).integers(0, 256, (16, 17, 19, channels), np.uint8)
    return jax.random.split(jax.random.key(2), 16), images


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_is_the_same_in_another_order(channels: int) -> None:
    keys, images = make_batch(channels)
    together = np.asarray(augment(EVERYTHING, keys, images))
    assert (together != images).any(axis=(1, 2, 3)).all()
    order = np.random.default_rng(1).permutation(16)
    np.testing.assert_array_equal(augment(EVERYTHING, keys[order], images[order]), together[order])


def test_an_image_is_the_same_alone_and_in_a_fleet() -> None:
    keys, images = make_batch()
    together = np.asarray(augment(EVERYTHING, keys, images))
    alone = augment(EVERYTHING, keys[3:4], images[3:4])
    np.testing.assert_array_equal(alone, together[3:4])
    fleet = jax.jit(jax.vmap(augment_images, (None, 0, None)), static_argnums=0)
    members = fleet(EVERYTHING, jnp.stack([keys, keys[::-1]]), images)
    np.testing.assert_array_equal(members[0], together)


def test_eight_devices_make_the_same_images() -> None:
    script = """
import hashlib, json, jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from lelp_jax.augmentation.images import augment_images
from tests.augmentation.test_images import EVERYTHING, make_batch
mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
rows = NamedSharding(mesh, PartitionSpec("batch"))
keys, images = (jax.device_put(array, rows) for array in make_batch())
result = jax.jit(augment_images, static_argnums=0, out_shardings=rows)(EVERYTHING, keys, images)
assert len(result.sharding.device_set) == 8
print(json.dumps({"digest": hashlib.sha256(np.asarray(result).tobytes()).hexdigest()}))
"""
    result = np.asarray(augment(EVERYTHING, *make_batch()))
    found = run_script(script, devices=8)
    assert found == {"digest": hashlib.sha256(result.tobytes()).hexdigest()}


def test_one_change_more_leaves_the_random_numbers_of_the_others() -> None:
    keys, images = make_batch()
    cropped = np.asarray(augment(Augmentation(crop=2), keys, images))
    both = np.asarray(augment(Augmentation(crop=2, cutout=3), keys, images))
    kept = (both == cropped).all(axis=-1)
    assert (~kept).sum(axis=(1, 2)).max() == 9
    assert (both[~kept] == 128).all()


def test_without_changes_the_images_are_passed_on() -> None:
    keys, images = make_batch()
    assert augment_images(Augmentation(mixup=1.0), keys, images) is images


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Augmentation)])
def test_every_field_turns_something_on(field: str) -> None:
    values = {field: 1}
    if field.startswith("randaugment"):
        values = {"randaugment_layers": 1, "randaugment_magnitude": 1}
    config = sections.build(Augmentation, values, "config.augmentation")
    assert config.changes_images != config.mixes_images
    assert not Augmentation().changes_images
    assert not Augmentation().mixes_images
    assert hash(config) != hash(Augmentation())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": 17}, "crop 17 is too large for images of 17 x 19 pixels"),
        ({"cutout": 18}, "cutout 18 is larger than images of 17 x 19 pixels"),
    ],
)
def test_images_too_small_are_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(Augmentation(**values), (17, 19, 1))
    check(Augmentation(**{key: value - 1 for key, value in values.items()}), (17, 19, 1))


@pytest.mark.parametrize("shape", [(20,), (4, 5)])
def test_inputs_that_are_no_images_are_refused(shape: tuple[int, ...]) -> None:
    check(Augmentation(), shape)
    for config in (Augmentation(flip=0.5), Augmentation(cutmix=1.0)):
        with pytest.raises(UserError, match="augmentation is for images"):
            check(config, shape)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip": 1.5}, r"config.augmentation.flip must be a number in \[0, 1\], got 1.5"),
        ({"crop": -1}, r"config.augmentation.crop must be .* of 0 or more, got -1"),
        ({"mixup": float("inf")}, r"config.augmentation.mixup must be"),
        ({"randaugment_layers": 2}, "config.augmentation: randaugment_layers 2 and"),
        ({"cut_mix": 1.0}, "did you mean 'cutmix'"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        sections.build(Augmentation, values, "config.augmentation")
