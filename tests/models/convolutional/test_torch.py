"""Every family for images computes what the same network does in PyTorch, in float64."""

import copy
import types
import warnings
from typing import Any

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from lelp_jax.models import build

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch

    from tests.helpers import torch_image_models as twins

ROWS = 5
# Channels of MobileNets whose width is so small that every layer has the fewest, and their strides.
PAIRS = (1, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
STAGES = [(1, 8, 1, 1), (6, 8, 2, 1), (6, 8, 3, 2), (6, 8, 4, 2), (6, 8, 3, 1), (6, 8, 3, 2)]
NETWORKS: dict[str, tuple[dict[str, Any], Any]] = {
    "small_cnn": ({"name": "small_cnn", "widths": (4, 6, 8)}, lambda: twins.SmallCNN((4, 6, 8))),
    "small_cnn of groups": (
        {"name": "small_cnn", "widths": (4, 9), "normalization": "group"},
        lambda: twins.SmallCNN((4, 9), (2, 3)),
    ),
    "resnet": ({"name": "resnet", "depth": 14, "width": 4}, lambda: twins.ResNet(2, 4, False)),
    "bottlenecks": (
        {"name": "resnet", "depth": 11, "width": 3, "block": "bottleneck"},
        lambda: twins.ResNet(1, 3, True),
    ),
    "wide_resnet": (
        {"name": "wide_resnet", "depth": 10, "width": 1},
        lambda: twins.WideResNet(1, 1),
    ),
    "mobilenet": (
        {"name": "mobilenet", "width": 0.01, "downsampling": 16},
        lambda: twins.MobileNet((8,) * 12 + (16, 16), PAIRS),
    ),
    "mobilenet_v2": (
        {"name": "mobilenet_v2", "width": 0.01, "downsampling": 8},
        lambda: twins.MobileNetV2([*STAGES, (6, 8, 1, 1)], (8, 1), 1280),
    ),
}


def pair(name: str) -> types.SimpleNamespace:
    """Both networks with the same parameters and averages, and what both see."""
    settings, twin = NETWORKS[name]
    random = np.random.default_rng(0)
    network = twin().double()
    for layer in network.modules():
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
            if isinstance(layer, torch.nn.Conv2d):
                fan_in = tensor[0].numel()
                values = random.normal(0, np.sqrt(2 / fan_in), tensor.shape)
            else:
                # Scales and variances of about 1, shifts and means that are not 0.
                values = random.uniform(0.5, 1.5, tensor.shape)
            tensor.data.copy_(torch.as_tensor(values))
    images = random.normal(size=(ROWS, 9, 13, 3))
    weight = random.normal(size=(ROWS, 2))
    params, statistics = twins.pair_tensors(network), twins.pair_statistics(network)
    return types.SimpleNamespace(
        network=network, model=build(settings, 2), images=images, weight=weight,
        params=as_tree(params), statistics=as_tree(statistics),
    )  # fmt: skip


def as_tree(flat: dict[str, np.ndarray]) -> Any:
    return unflatten_dict({path: np.array(v, np.float32) for path, v in flat.items()}, sep="/")


def run_torch(both: types.SimpleNamespace) -> dict[str, np.ndarray]:
    """Computes outputs, gradients of `weight * logits`, averages after a step, and predictions."""
    network, places = copy.deepcopy(both.network).train(), {}
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_hook(
                lambda layer, inputs, _: places.update({layer: inputs[0][:, 0].numel()})
            )
    before = twins.pair_statistics(both.network)
    images = torch.tensor(both.images.transpose(0, 3, 1, 2).copy(), requires_grad=True)
    logits, embedding = network(images)
    (logits * torch.tensor(both.weight)).sum().backward()
    result = {
        "logits": logits.detach().numpy(),
        "embedding": embedding.detach().numpy(),
        "images": images.grad.numpy().transpose(0, 2, 3, 1),
        **twins.pair_tensors(network, gradients=True),
    }
    for path, layer in network.named_modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            place = path.replace(".", "/")
            result[f"{place}/mean"] = layer.running_mean.numpy()
            # PyTorch's average is of variances that are divided by one place less.
            old, new = before[f"{place}/var"], layer.running_var.numpy()
            result[f"{place}/var"] = old * 0.9 + (new - 0.9 * old) * (1 - 1 / places[layer])
    predicted = both.network.eval()(images)[0]
    return result | {"predicted logits": predicted.detach().numpy()}


def run_jax(both: types.SimpleNamespace) -> dict[str, np.ndarray]:
    """Computes the same."""

    def loss(params, images):
        variables = {"params": params, "batch_stats": both.statistics}
        outputs, state = both.model.apply(variables, images, train=True, mutable=["batch_stats"])
        predicted = both.model.apply(variables, images).logits
        return (outputs.logits * both.weight).sum(), (outputs, state, predicted)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))
    (params, images), aside = gradient(both.params, both.images.astype(np.float32))
    outputs, state, predicted = aside
    moved = flatten_dict(state.get("batch_stats", {}), sep="/")
    seen = {**outputs._asdict(), "images": images, "predicted logits": predicted}
    return {**seen, **flatten_dict(params, sep="/"), **moved}


@pytest.mark.parametrize("name", NETWORKS)
def test_all_numbers_are_those_of_pytorch(name):
    both = pair(name)
    found, wanted = run_jax(both), run_torch(both)
    assert found.keys() == wanted.keys()
    # A shift before a normalisation has no gradient but for rounding.
    least = 1e-3 * max(np.abs(wanted[path]).max() for path in flatten_dict(both.params, sep="/"))
    for path, values in wanted.items():
        allowed = 3e-4 * max(np.abs(values).max(), least)
        np.testing.assert_allclose(found[path], values, atol=allowed, rtol=0, err_msg=path)
    head = both.params["head"]
    np.testing.assert_allclose(
        found["embedding"] @ head["kernel"] + head["bias"], found["logits"], rtol=1e-4, atol=1e-4
    )
