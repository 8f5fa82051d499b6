"""Families for images: published sizes, shapes of any image, precision, starts, bad settings."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from lelp_jax import models
from lelp_jax.core.errors import UserError
from lelp_jax.models.convolutional.mobilenet import adapt_strides, scale_channels

SMALLEST: dict[str, dict[str, Any]] = {
    "small_cnn": {"widths": (4, 6, 8)},
    "resnet": {"depth": 8, "width": 4},
    "wide_resnet": {"depth": 10, "width": 1},
    "mobilenet": {"width": 0.1},
    "mobilenet_v2": {"width": 0.1},
}
every_family = pytest.mark.parametrize("name", SMALLEST)


def network(name: str, **settings: Any) -> Any:
    return models.build({"name": name} | SMALLEST[name] | settings, 2)


def count(settings: dict[str, Any], num_outputs: int) -> int:
    """Counts parameters; averages of batch normalisation are none."""
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(models.build(settings, num_outputs).init, jax.random.key(0), image)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


@pytest.mark.parametrize(
    ("settings", "num_outputs", "published", "exact"),
    [
        # He et al., arXiv 1512.03385, table 6, in millions; exactly: layer by layer.
        ({"name": "resnet", "depth": 20}, 10, "0.27", 269_722),
        ({"name": "resnet", "depth": 56}, 10, "0.85", 853_018),
        ({"name": "resnet", "depth": 110}, 10, "1.7", 1_727_962),
        # He et al., arXiv 1603.05027, table 4. It projects shortcuts, with 43,000 parameters.
        ({"name": "resnet", "depth": 164, "block": "bottleneck"}, 10, "1.7", 1_661_274),
        # Zagoruyko and Komodakis, arXiv 1605.07146, tables 4 and 5.
        ({"name": "wide_resnet", "depth": 40, "width": 2}, 10, "2.2", 2_243_546),
        ({"name": "wide_resnet", "depth": 16, "width": 4}, 10, "2.7", 2_748_890),
        ({"name": "wide_resnet", "depth": 16, "width": 8}, 10, "11.0", 10_961_370),
        ({"name": "wide_resnet", "depth": 28, "width": 10}, 10, "36.5", 36_479_194),
        # Howard et al., arXiv 1704.04861, table 6; exactly: Keras, trainable parameters.
        ({"name": "mobilenet"}, 1000, "4.2", 4_231_976),
        ({"name": "mobilenet", "width": 0.5}, 1000, "1.3", 1_331_592),
        ({"name": "mobilenet", "width": 0.25}, 1000, "0.5", 470_072),
        # Sandler et al., arXiv 1801.04381, table 4, has 3.4; exactly, and rounded: torchvision.
        ({"name": "mobilenet_v2"}, 1000, "3.5", 3_504_872),
        ({"name": "mobilenet_v2", "width": 1.4}, 1000, "6.1", 6_108_776),
    ],
)
def test_parameters_are_as_many_as_published(settings, num_outputs, published, exact):
    found = count(settings, num_outputs)
    assert found == exact
    digits = len(published.partition(".")[2])
    assert f"{found / 1e6:.{digits}f}" == published


@every_family
@pytest.mark.parametrize("size", [(33, 45, 3), (1, 1, 1)])
def test_images_of_any_size_are_taken(name, size):
    image = jax.ShapeDtypeStruct((3, *size), jnp.float32)
    model = network(name)
    assert model.of_images
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    outputs = jax.eval_shape(model.apply, variables, image)
    dims = variables["params"]["head"]["kernel"].shape[0]
    assert outputs.logits.shape == (3, 2)
    assert outputs.embedding.shape == (3, dims)


@pytest.mark.parametrize(
    ("settings", "dims"),
    [
        ({"name": "small_cnn", "widths": (8, 16)}, 16),
        ({"name": "resnet"}, 64),
        ({"name": "resnet", "depth": 11, "block": "bottleneck"}, 256),
        ({"name": "wide_resnet", "depth": 10, "width": 4}, 256),
        ({"name": "mobilenet"}, 1024),
        ({"name": "mobilenet", "width": 2.0}, 2048),
        ({"name": "mobilenet_v2", "width": 0.5}, 1280),
        ({"name": "mobilenet_v2", "width": 1.4}, 1792),
    ],
)
def test_width_of_the_embedding(settings, dims):
    image = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.float32)
    shapes = jax.eval_shape(models.build(settings, 2).init, jax.random.key(0), image)
    assert shapes["params"]["head"]["kernel"].shape == (dims, 2)


@pytest.mark.parametrize(
    ("name", "normalization"), [*((name, "batch") for name in SMALLEST), ("small_cnn", "group")]
)
def test_what_is_kept_is_float32_whatever_the_convolutions_are(name, normalization):
    image = jax.ShapeDtypeStruct((3, 16, 16, 3), jnp.float32)
    model = network(name, normalization=normalization, compute_dtype="bfloat16")
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert ("batch_stats" in variables) == (normalization == "batch")

    def train(variables: Any, image: jax.Array) -> Any:
        return model.apply(variables, image, train=True, mutable=["batch_stats"])

    outputs, state = jax.eval_shape(train, variables, image)
    for leaf in jax.tree.leaves((variables, outputs, state)):
        assert leaf.dtype == jnp.float32
    # What goes from layer to layer is not: no activation is float32 but for the statistics.
    _, kept = jax.eval_shape(
        lambda v, x: model.apply(v, x, capture_intermediates=True, mutable=["intermediates"]),
        variables,
        image,
    )
    layers = flatten_dict(kept["intermediates"], sep="/")
    images = [leaf for (leaf,) in (v for v in layers.values()) if getattr(leaf, "ndim", 0) == 4]
    assert {leaf.dtype for leaf in images} == {jnp.dtype("bfloat16")}


def test_bfloat16_is_near_float32():
    images = np.random.default_rng(0).normal(size=(4, 9, 9, 3)).astype(np.float32)
    variables = jax.jit(network("small_cnn").init)(jax.random.key(0), images)
    exact, rough = (
        jax.jit(network("small_cnn", compute_dtype=dtype).apply)(variables, images).embedding
        for dtype in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(rough, exact, atol=0.02 * np.abs(exact).max())
    assert (rough != exact).any()


def test_a_residual_network_starts_as_its_shortcuts():
    images = np.random.default_rng(0).normal(size=(4, 9, 9, 3)).astype(np.float32)
    model = network("resnet", depth=14)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    outputs, kept = jax.jit(lambda v, x: model.apply(v, x, capture_intermediates=True))(
        variables, images
    )
    (first,) = kept["intermediates"]["BatchNorm_0"]["__call__"]
    # Every other row and column, twice; the new channels are 0.
    wanted = np.maximum(first[:, ::4, ::4], 0).mean(axis=(1, 2))
    np.testing.assert_allclose(outputs.embedding[:, :4], wanted, rtol=1e-6)
    assert not outputs.embedding[:, 4:].any()


def test_dropout_in_wide_blocks_is_on_in_training_alone():
    images = np.random.default_rng(0).normal(size=(4, 5, 5, 3)).astype(np.float32)
    model = network("wide_resnet", dropout=0.3)
    variables = jax.jit(model.init)(jax.random.key(0), images)

    @jax.jit
    def train(seed: int) -> jax.Array:
        rngs = {"dropout": jax.random.key(seed)}
        outputs, _ = model.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])
        return outputs.embedding

    assert (train(0) == train(0)).all()
    assert (train(0) != train(1)).any()
    # Needs no random numbers.
    jax.eval_shape(model.apply, variables, images)


def test_members_of_a_fleet_have_statistics_of_their_own():
    images = np.random.default_rng(0).normal(size=(2, 5, 8, 8, 3)).astype(np.float32)
    images[1] += 3
    model = network("small_cnn", widths=(4, 6))
    init = jax.jit(jax.vmap(model.init, (0, None)))
    variables = init(jax.random.split(jax.random.key(0)), images[0])

    def train(variables: Any, images: jax.Array) -> Any:
        return model.apply(variables, images, train=True, mutable=["batch_stats"])

    together, alone = jax.jit(jax.vmap(train))(variables, images), jax.jit(train)
    for number in range(2):
        wanted = alone(jax.tree.map(lambda leaf, at=number: leaf[at], variables), images[number])
        for one, all_ in zip(jax.tree.leaves(wanted), jax.tree.leaves(together), strict=True):
            np.testing.assert_allclose(all_[number], one, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "resnet", "depth": 21}, r"6 n \+ 2 .* 8 or more, got 21; use 20 or 26"),
        ({"name": "resnet", "depth": 2}, "got 2; use 8$"),
        ({"name": "resnet", "depth": -4}, "got -4; use 8$"),
        (
            {"name": "resnet", "depth": 21, "block": "bottleneck"},
            r"9 n \+ 2 .* 11 or more, got 21; use 20 or 29",
        ),
        ({"name": "resnet", "depth": 111, "block": "bottleneck"}, "use 110 or 119"),
        ({"name": "wide_resnet", "depth": 26}, r"6 n \+ 4 .* 10 or more, got 26; use 22 or 28"),
        ({"name": "wide_resnet", "depth": 9}, "use 10$"),
        ({"name": "wide_resnet", "width": 0}, "width must be a whole number of 1 or more, got 0"),
        ({"name": "wide_resnet", "dropout": 1.0}, "dropout"),
        ({"name": "small_cnn", "widths": ()}, "widths is empty"),
        ({"name": "small_cnn", "widths": (8, 0)}, r"widths\[1\]"),
        ({"name": "mobilenet", "width": 0}, "width must be a number above 0"),
        ({"name": "mobilenet", "downsampling": 4}, "downsampling must be 8, 16 or 32, got 4"),
        ({"name": "mobilenet_v2", "normalization": "layer"}, "must be 'batch' or 'group'"),
        ({"name": "small_cnn", "compute_dtype": "float16"}, "did you mean 'bfloat16'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        models.build(settings, 2)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_every_depth_that_is_suggested_is_taken(bottleneck):
    block = "bottleneck" if bottleneck else "basic"
    step = 9 if bottleneck else 6
    depths = []
    for depth in range(3 * step):
        try:
            models.build({"name": "resnet", "depth": depth, "block": block}, 2)
            depths.append(depth)
        except UserError as error:
            suggested = [int(text) for text in str(error).split("use ")[1].split(" or ")]
            assert all(number % step == 2 and number >= step + 2 for number in suggested)
            assert min(abs(number - depth) for number in suggested) < max(step, step + 3 - depth)
    assert depths == list(range(step + 2, 3 * step, step))


def test_small_images_are_strided_later():
    strides = [2, 1, 2, 2, 1, 2, 1, 2]
    assert adapt_strides(strides, 32) == strides
    assert adapt_strides(strides, 16) == [1, 1, 2, 2, 1, 2, 1, 2]
    assert adapt_strides(strides, 8) == [1, 1, 1, 2, 1, 2, 1, 2]


def test_channels_are_multiples_of_eight():
    # The published width multipliers change no layer by more than rounding to 8 does.
    for channels in (16, 24, 32, 64, 96, 160, 320, 1024, 1280):
        assert scale_channels(channels, 1.0) == channels
        for width in (0.01, 0.25, 0.35, 0.5, 0.75, 1.3, 1.4, 2.0):
            found = scale_channels(channels, width)
            assert found % 8 == 0
            assert found >= max(8, 0.9 * channels * width)
            assert found <= max(8, channels * width + 8)
