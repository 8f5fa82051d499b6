"""What a step of a network costs: operations, and numbers kept for the gradient."""

import jax
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.methods import labels
from lelp_jax.methods.base import identity_readout
from lelp_jax.train import fleet
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import StepSpec

BATCH, CLASSES = 16, 3
IMAGES = jax.ShapeDtypeStruct((100, 12, 10, 1), np.dtype(np.uint8))


def make_spec(settings: dict, **others) -> StepSpec:
    model = models.build(settings, CLASSES)
    loss = labels.METHOD.loss
    return StepSpec(model, loss, identity_readout, OptimizerConfig(), steps=10, **others)


def count_products(*layers: tuple[int, int, int, int]) -> int:
    """Counts operations of convolutions of height, width, channels and features at 3x3 places.

    At the border, a kernel sees three rows less one.
    """
    return sum(2 * (3 * h - 2) * (3 * w - 2) * c * o for h, w, c, o in layers)


def test_a_convolution_works_at_every_place():
    spec = make_spec({"name": "small_cnn", "widths": (4, 8)})
    products = count_products((12, 10, 1, 4), (6, 5, 4, 8)) + 2 * 8 * CLASSES
    # Normalization, activation, pooling and averages are a few operations for each of the numbers
    # between the layers.
    between = 12 * 10 * 4 + 6 * 5 * 8
    work = fleet.estimate_work(spec, IMAGES, BATCH)
    assert 3 * BATCH * products < work < 3 * BATCH * (products + 10 * between)
    assert fleet.estimate_work(spec, IMAGES, 2 * BATCH) == 2 * work


def test_a_teacher_asked_in_every_step_works_forward_alone():
    settings = {"name": "small_cnn", "widths": (4, 8)}
    alone, online = (
        make_spec({"name": "mlp", "hidden": (5,)}, teacher=teacher)
        for teacher in (None, models.build(settings, CLASSES))
    )
    frozen = fleet.count_frozen(online, None, IMAGES)
    more = fleet.estimate_work(online, IMAGES, BATCH, frozen)
    more -= fleet.estimate_work(alone, IMAGES, BATCH)
    assert more == fleet.estimate_work(make_spec(settings), IMAGES, BATCH) // 3
    assert more > 2 * frozen * BATCH


@pytest.mark.parametrize("accumulate", [1, 4])
def test_activations_of_a_part_are_kept(accumulate):
    spec = make_spec({"name": "small_cnn", "widths": (4, 8)}, accumulate=accumulate)
    kept = fleet.count_activations(spec, IMAGES, BATCH)
    # Results of the convolutions and of their normalization, at least; at most ten such arrays.
    between = (12 * 10 * 4 + 6 * 5 * 8) * BATCH // accumulate
    assert 2 * between < kept < 10 * between


def test_other_families_are_counted_by_their_parameters():
    spec = make_spec({"name": "mlp", "hidden": (5,)})
    parameters = 12 * 10 * 5 + 5 + 5 * CLASSES + CLASSES
    assert fleet.estimate_work(spec, IMAGES, BATCH) == 6 * parameters * BATCH
    assert fleet.count_activations(spec, IMAGES, BATCH) == 0
