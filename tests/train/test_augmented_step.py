"""What students and teachers see of images in a step, and the losses of mixed images."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from lelp_jax import models
from lelp_jax.augmentation.config import Augmentation
from lelp_jax.augmentation.mixing import mix_images
from lelp_jax.methods import METHODS
from lelp_jax.models import variables
from lelp_jax.models.pixels import scale_pixels
from lelp_jax.models.variables import Variables
from lelp_jax.train.state import Frozen, StepSpec
from tests.helpers.fleets import BATCH, GROUPS, ROWS, compiled, compiled_init, members_of, order_of
from tests.helpers.image_fleets import (
    CHANGES,
    IMAGES,
    Pixels,
    augment_as_in_step,
    rows_of,
    run,
    spec_of,
    watching_spec,
)
from tests.helpers.online_teachers import (
    CLASSES,
    DIMS,
    PROJECTIONS,
    STILL,
    SUBCLASSES,
    WHOLE,
    embedded,
    loss_of,
)
from tests.helpers.softmax import log_softmax
from tests.helpers.trees import select

TEACHER = models.build({"name": "small_cnn", "widths": (2, DIMS)}, CLASSES)
MIXED = Augmentation(flip=0.5, mixup=0.8, cutmix=1.0)
_MIXTURE = 7


@functools.cache
def teachers(model: Any = TEACHER) -> Variables:
    """Returns teachers of all groups, with running averages of their own."""

    def initialize(key: jax.Array) -> Variables:
        made = variables.initialize(model, key, IMAGES[:1])
        return Variables(
            made.parameters,
            jax.tree.map(lambda leaf: leaf + 0.2 * jax.random.uniform(key, leaf.shape), made[1]),
        )

    return jax.device_get(
        jax.jit(jax.vmap(initialize))(jax.random.split(jax.random.key(9), GROUPS))
    )


def keys_of(seed: int, use: int, step: int) -> jax.Array:
    key = jax.random.key(np.uint32(seed))
    return jax.random.fold_in(jax.random.fold_in(key, use), step)


def test_student_and_teacher_see_the_very_same_image_which_seed_and_step_decide() -> None:
    steps, order = 3, order_of(3, 3)
    order[:] = order[:1, :1]
    members = members_of(3)._replace(
        seed=np.array([10, 11, 10], np.uint32), group=np.zeros(3, np.int32)
    )
    model = Pixels(CLASSES)
    rows = rows_of(frozen=Frozen(teachers(model), None))
    picked = IMAGES[rows.row[0, order[0, 0]]]
    shown = {}
    for name, changes in (("off", Augmentation()), ("on", CHANGES)):
        spec = watching_spec(steps, augmentation=changes, teacher=model)
        shown[name] = run(spec, members, rows, order)[1].members.method
    np.testing.assert_array_equal(
        shown["off"]["student"],
        np.broadcast_to(scale_pixels(picked).reshape(BATCH, -1), (3, steps, BATCH, picked[0].size)),
    )
    seen = shown["on"]
    np.testing.assert_array_equal(seen["student"], seen["teacher"])
    for index, seed in enumerate(members.seed):
        for step in range(steps):
            images = augment_as_in_step(CHANGES, seed, step, picked)
            pixels = scale_pixels(images).reshape(BATCH, -1)
            np.testing.assert_array_equal(seen["student"][index, step], pixels)
            head = select(teachers(model).parameters["head"], 0)
            logits = pixels @ head["kernel"] + head["bias"]
            np.testing.assert_allclose(seen["logits"][index, step], logits, atol=1e-5)
    each = np.asarray(seen["student"]).reshape(3 * steps, -1)
    # Members of one seed see the same; of others, and in other steps, not.
    assert len(np.unique(each, axis=0)) == 2 * steps
    # What a step shows does not depend on where a dispatch begins.
    spec = watching_spec(steps, augmentation=CHANGES, teacher=model)
    state = compiled_init(spec)(IMAGES[:1], members.seed)
    for position in order:
        state, _ = compiled(spec)(state, members, rows, IMAGES, position[None])
    np.testing.assert_array_equal(state.members.method["student"], seen["student"])


def outputs_of(spec: StepSpec, params: Any, images: Any) -> np.ndarray:
    """Returns a student's logits on the statistics of the batch."""
    outputs, _ = variables.predict_in_training(
        spec.model, params.variables, images, jax.random.key(0)
    )
    return np.float64(outputs.logits)


@pytest.mark.parametrize(
    ("method", "changes"), [("kd", CHANGES), ("labels", MIXED), ("lelp", MIXED)]
)
def test_losses_are_those_of_the_changed_images_by_hand(method: str, changes: Augmentation) -> None:
    """The teacher answers for the image that the student sees; labels take their shares of it."""
    chosen = METHODS[method]
    splits = chosen.projector is not None
    teacher = TEACHER if chosen.uses_teacher else None
    network = models.build(
        {"name": "small_cnn", "widths": (2,)}, CLASSES * (SUBCLASSES if splits else 1)
    )
    spec = spec_of(method, augmentation=changes, teacher=teacher, model=network)
    weight = np.random.default_rng(3).uniform(0.3, 2, (GROUPS, ROWS)).astype(np.float32)
    rows = rows_of(
        weight,
        frozen=Frozen(teachers(), PROJECTIONS.get(method)) if teacher else None,
        constants={"column_mask": np.stack([WHOLE] * GROUPS)} if splits else {},
    )
    members, order = members_of(2, **STILL, alpha=0.4), order_of(1, 2)
    start, _, log = run(spec, members, rows, order)
    for index in range(2):
        group, seed = members.group[index], members.seed[index]
        picked = order[0, index]
        label, weights = rows.label[group, picked], weight[group, picked]
        images = augment_as_in_step(changes, seed, 0, IMAGES[rows.row[group, picked]])
        seen, partner, share = mix_images(changes, keys_of(seed, _MIXTURE, 0), scale_pixels(images))
        share = np.float64(share)
        logits = outputs_of(spec, select(start.members.params, index), seen)
        numbers = {name: float(value[index]) for name, value in members.hyperparameters.items()}
        if teacher is None:
            losses = [-log_softmax(logits)[np.arange(BATCH), y] for y in (label, label[partner])]
        else:
            answer = variables.predict(TEACHER, select(teachers(), group), seen)
            told, hidden = np.float64(answer.logits), np.float64(answer.embedding)
            scores = embedded(method, group, hidden) if splits else None
            losses = [
                loss_of(logits, y, (told, scores), WHOLE, numbers) for y in (label, label[partner])
            ]
        shares = (share * weights, (1 - share) * weights[partner])
        total = sum(float(s @ loss) for s, loss in zip(shares, losses, strict=True))
        np.testing.assert_allclose(log.total[0, index], total, rtol=2e-5)
        np.testing.assert_allclose(log.weight[0, index], sum(s.sum() for s in shares), rtol=1e-5)
        if changes.mixes_images:
            assert 0.1 < share.mean() < 0.9
            assert abs(losses[0] - losses[1]).max() > 0.05
