"""Small fleets that learn from pictures, and the same networks in PyTorch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn
from torch.nn import functional

from lelp_jax import models
from lelp_jax.augmentation.config import Augmentation
from lelp_jax.augmentation.images import augment_images
from lelp_jax.methods import METHODS
from lelp_jax.methods.base import Dims, LossInputs, LossOutput, identity_readout
from lelp_jax.models.outputs import HEAD, Outputs
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.state import GroupRows, StepSpec
from tests.helpers import pictures
from tests.helpers.fleets import BATCH, GROUPS, ROWS, compiled, compiled_init

IMAGES, LABELS = pictures.draw(20, 2, 8)
SMALL = {"name": "small_cnn", "widths": (2, 4)}
CHANGES = Augmentation(crop=2, flip=0.5, brightness=0.4)
SGD = OptimizerConfig(rule="sgd")
# Where each array of `SMALL` is in PyTorch's functions, by layer.
CONVOLUTIONS, NORMALIZATIONS = ("Convolution_0", "Convolution_1"), ("BatchNorm_0", "BatchNorm_1")
_AUGMENTATION = 6


def spec_of(method: str = "labels", steps: int = 6, **changed: Any) -> StepSpec:
    chosen = METHODS[method]
    fields = {
        "model": models.build(SMALL, 2),
        "loss": chosen.loss,
        "readout": chosen.readout,
        "optimizer": SGD,
        "steps": steps,
        "targets": chosen.targets,
    }
    return StepSpec(**(fields | changed))


def rows_of(weight: np.ndarray | None = None, **changed: Any) -> GroupRows:
    random = np.random.default_rng(5)
    row = np.stack([random.permutation(len(IMAGES))[:ROWS] for _ in range(GROUPS)])
    rows = GroupRows(
        row=row.astype(np.int32),
        label=LABELS[row].astype(np.int32),
        weight=np.ones((GROUPS, ROWS), np.float32) if weight is None else weight,
        teacher_logits=None,
        scores=None,
        constants={},
    )
    return rows._replace(**changed)


def run(spec: StepSpec, members: Any, rows: GroupRows, order: np.ndarray) -> Any:
    """Returns the state before and after all steps of an order, and the log of each step."""
    start = compiled_init(spec)(IMAGES[:1], members.seed)
    end, log = compiled(spec)(start, members, rows, IMAGES, order)
    return start, end, log


def convolve(
    parameters: Any, statistics: Any, pixels: torch.Tensor, *, train: bool
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Runs `SMALL` in PyTorch; returns logits, embedding and running averages after the batch."""
    x, updated = pixels.permute(0, 3, 1, 2), {}
    for number, (layer, norm) in enumerate(zip(CONVOLUTIONS, NORMALIZATIONS, strict=True)):
        if number:
            x = functional.max_pool2d(x, 2)
        x = functional.conv2d(x, parameters[layer]["kernel"].permute(3, 2, 0, 1), padding=1)
        mean, var = x.mean(dim=(0, 2, 3)), x.var(dim=(0, 2, 3), correction=0)
        kept = statistics[norm]
        updated[norm] = {
            "mean": (0.9 * kept["mean"] + 0.1 * mean).detach(),
            "var": (0.9 * kept["var"] + 0.1 * var).detach(),
        }
        averages = (None, None) if train else (kept["mean"], kept["var"])
        affine = (parameters[norm]["scale"], parameters[norm]["bias"])
        x = functional.relu(functional.batch_norm(x, *averages, *affine, train))
    embedding = x.mean(dim=(2, 3))
    head = parameters[HEAD]
    return embedding @ head["kernel"] + head["bias"], embedding, updated


def augment_as_in_step(
    config: Augmentation, seed: int, step: int, images: np.ndarray
) -> np.ndarray:
    """Returns the images that a member of a seed sees in a step in place of these."""
    key = jax.random.key(np.uint32(seed))
    key = jax.random.fold_in(jax.random.fold_in(key, _AUGMENTATION), step)
    return np.asarray(augment_images(config, jax.random.split(key, len(images)), images))


class Pixels(nn.Module):
    """A network whose embedding is all that it is shown."""

    num_outputs: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool = False) -> Outputs:
        del train
        flat = images.reshape(len(images), -1)
        return Outputs(nn.Dense(self.num_outputs, name=HEAD)(flat), flat)


def keep_what_is_seen(inputs: LossInputs, constants: Any, hyperparameters: Any) -> LossOutput:
    """A loss whose state holds what student and teacher were shown, step by step."""
    del constants, hyperparameters
    shown = {"student": inputs.embedding, "teacher": inputs.teacher_embedding}
    shown |= {"logits": inputs.teacher_logits, "label": inputs.label}
    state = {"step": inputs.state["step"] + 1}
    for name, value in shown.items():
        if value is not None:
            state[name] = inputs.state[name].at[inputs.state["step"]].set(value)
        else:
            state[name] = inputs.state[name]
    return LossOutput(jnp.square(inputs.logits).sum(axis=-1), {}, state)


def make_room(key: jax.Array, dims: Dims) -> dict[str, jax.Array]:
    """Makes the state of `keep_what_is_seen`, for as many steps as `dims.rows`."""
    del key
    steps = dims.rows
    return {
        "step": jnp.zeros((), jnp.int32),
        "student": jnp.zeros((steps, BATCH, dims.embedding)),
        "teacher": jnp.zeros((steps, BATCH, dims.embedding)),
        "logits": jnp.zeros((steps, BATCH, dims.classes)),
        "label": jnp.zeros((steps, BATCH), jnp.int32),
    }


def watching_spec(steps: int, **changed: Any) -> StepSpec:
    """Returns a program whose members' state `method` holds what they were shown."""
    fields = {
        "model": Pixels(2),
        "loss": keep_what_is_seen,
        "readout": identity_readout,
        "optimizer": SGD,
        "steps": steps,
        "dims": Dims(2, IMAGES[0].size, IMAGES[0].size, steps),
        "init_state": make_room,
    }
    return StepSpec(**(fields | changed))
