"""Convolutions in every formulation beside XLA's own, and pooling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lelp_jax.models.convolutional import convolution, products

# Sums of up to 1,000 products of numbers of about 1 in float32, in another order: each is exact to
# 6e-8 of its largest partial sum.
TOLERANCE = {"rtol": 2e-5, "atol": 2e-4}


def draw(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def reference(inputs, kernel, stride, groups=1):
    """Convolves in NumPy, in float64, one tap of the kernel at a time."""
    inputs, kernel = np.asarray(inputs, np.float64), np.asarray(kernel, np.float64)
    size, (_, height, width, channels) = len(kernel), inputs.shape
    margin = size // 2
    padded = np.pad(inputs, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    result = 0
    for row in range(size):
        for column in range(size):
            seen = padded[:, row : row + height : stride, column : column + width : stride]
            seen = seen.reshape(*seen.shape[:3], groups, channels // groups)
            taps = kernel[row, column].reshape(channels // groups, groups, -1)
            part = np.einsum("nhwgc,cgo->nhwgo", seen, taps)
            result = result + part.reshape(*part.shape[:3], -1)
    return result


def convolve(inputs, kernel, stride, groups=1):
    module = convolution.Convolution(kernel.shape[-1], len(kernel), stride, groups)
    return module.apply({"params": {"kernel": kernel}}, inputs)


def with_gradients(function, inputs, kernel, weight):
    """Computes the result and both gradients of a weighted sum of it."""
    value, pull = jax.vjp(function, inputs, kernel)
    return value, *pull(weight(value))


def weigh(value):
    """Gives every number of a result a weight of its own."""
    return jnp.cos(jnp.arange(value.size, dtype=jnp.float32)).reshape(value.shape)


@settings(max_examples=6)
@given(
    batch=st.sampled_from([1, 3, 7, 64]),
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    channels=st.sampled_from([1, 3, 8]),
    features=st.sampled_from([1, 5, 8]),
    size=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2, 3]),
    depthwise=st.booleans(),
)
def test_values_and_gradients(batch, height, width, channels, features, size, stride, depthwise):
    groups = channels if depthwise else 1
    features = channels if depthwise else features
    inputs = draw(batch, height, width, channels)
    kernel = draw(size, size, channels // groups, features)

    def plain(inputs, kernel):
        return products.convolve_plain(inputs, kernel, stride, groups)

    expected = with_gradients(plain, inputs, kernel, weigh)
    found = with_gradients(lambda x, w: convolve(x, w, stride, groups), inputs, kernel, weigh)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, **TOLERANCE)
    np.testing.assert_allclose(reference(inputs, kernel, stride, groups), found[0], **TOLERANCE)


def compare_with_plain(function, inputs, kernel, stride):
    """Compares a function's result and gradients with those of XLA's own convolution."""

    def plain(inputs, kernel):
        return products.convolve_plain(inputs, kernel, stride)

    if inputs.ndim == 5 or kernel.ndim == 5:
        plain = jax.vmap(plain, (0 if inputs.ndim == 5 else None, 0 if kernel.ndim == 5 else None))
    expected = with_gradients(plain, inputs, kernel, weigh)
    found = with_gradients(function, inputs, kernel, weigh)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, **TOLERANCE)


@pytest.mark.parametrize("batch", [1, 13, 20])
@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_parts_of_the_batch_add_up(monkeypatch, batch, images, stride):
    # So few bytes that a part has one image or up to five; 13 images have no parts but 1 and 13.
    shifted = 3 * 2 * (8 * 7 * 4) if stride == 1 else 9 * 4 * (4 * 4)
    monkeypatch.setattr(products, "_BYTES_IN_CACHE", images * shifted * 4)
    inputs, kernel = draw(batch, 8, 7, 4), draw(3, 3, 4, 4)
    # A function of its own, so that nothing traced under other conditions is found again.
    compare_with_plain(jax.jit(lambda x, w: convolve(x, w, stride)), inputs, kernel, stride)
    jaxpr = str(jax.make_jaxpr(jax.grad(lambda w: convolve(inputs, w, stride).sum()))(kernel))
    parts = {1: batch, 5: batch if batch == 13 else max(1, batch // 5)}[images]
    assert f"length={parts}" in jaxpr


@pytest.mark.parametrize(
    ("by_member", "size", "stride"),
    [((0, 0), 1, 2), ((0, 0), 3, 1), ((0, 0), 3, 2), ((0, None), 3, 1), ((None, 0), 3, 2)],
)
def test_fleets(by_member, size, stride):
    inputs, kernel = (
        draw(*((3,) if axis == 0 else ()), *shape)
        for axis, shape in zip(by_member, [(2, 7, 6, 3), (size, size, 3, 5)], strict=True)
    )
    each = jax.vmap(lambda x, w: convolve(x, w, stride), by_member)
    compare_with_plain(each, inputs, kernel, stride)
    # The gradient of each member, as the training step takes it.
    gradient = jax.grad(lambda w, x: (weigh(v := convolve(x, w, stride)) * v).sum())
    whole = jax.jit(jax.vmap(gradient, by_member[::-1]))(kernel, inputs)
    for member in range(3):
        own = (
            array if axis is None else array[member]
            for axis, array in zip(by_member[::-1], (kernel, inputs), strict=True)
        )
        np.testing.assert_allclose(whole[member], gradient(*own), **TOLERANCE)


def test_no_kernel_of_a_fleet_is_left_to_xla():
    inputs, kernel = draw(3, 2, 8, 8, 3), draw(3, 3, 3, 3, 5)
    gradient = jax.vmap(jax.grad(lambda w, x: convolve(x, w, 1).sum(), (0, 1)))
    assert "convolution" not in jax.jit(gradient).lower(kernel, inputs).as_text()
    alone = jax.jit(lambda x, w: convolve(x, w, 1)).lower(inputs[0], kernel[0])
    assert "stablehlo.convolution" in alone.as_text()


@pytest.mark.parametrize("stride", [1, 2])
def test_loops(stride):
    inputs, kernel = draw(3, 2, 7, 6, 4), draw(3, 3, 4, 4)

    def loop(inputs, kernel):
        return jax.lax.scan(lambda _, x: (None, convolve(x, kernel, stride)), None, inputs)[1]

    def plain(inputs, kernel):
        return jnp.stack([products.convolve_plain(x, kernel, stride) for x in inputs])

    expected = with_gradients(plain, inputs, kernel, weigh)
    found = with_gradients(jax.jit(loop), inputs, kernel, weigh)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, **TOLERANCE)


@pytest.mark.parametrize(
    ("size", "groups", "features", "expected"),
    [
        (3, 1, 16, "products"),
        (1, 1, 16, "pixels"),
        (3, 8, 8, "channels"),
        (1, 8, 8, "channels"),
        (3, 2, 8, "plain"),
        (3, 8, 16, "plain"),
    ],
)
def test_the_formulation_follows_from_the_shape(size, groups, features, expected):
    def choose(*, on_cpu: bool) -> str:
        return convolution.choose_formulation(size, groups, 8, features, on_cpu=on_cpu)

    assert choose(on_cpu=True) == expected
    assert choose(on_cpu=False) == "plain"


@pytest.mark.parametrize("on_cpu", [True, False])
def test_modules_ask_for_the_platform(monkeypatch, on_cpu):
    monkeypatch.setattr(convolution.parallel, "is_cpu", lambda: on_cpu)
    jaxpr = str(jax.make_jaxpr(lambda x, w: convolve(x, w, 1))(draw(1, 4, 4, 2), draw(3, 3, 2, 3)))
    assert ("custom_vjp" in jaxpr) == on_cpu


def test_bfloat16_gradients_are_summed_in_float32(monkeypatch):
    # 512 parts of one image of 9 pixels: in bfloat16, 9 more would not change 2,048.
    monkeypatch.setattr(products, "_BYTES_IN_CACHE", 1)
    inputs, kernel = jnp.ones((512, 3, 3, 1)), jnp.ones((3, 3, 1, 1))
    module = convolution.Convolution(1, compute_dtype=jnp.bfloat16)

    def total(kernel):
        return module.apply({"params": {"kernel": kernel}}, inputs).astype(jnp.float32).sum()

    found = jax.grad(total)(kernel)
    assert found.dtype == jnp.float32
    assert float(found[1, 1, 0, 0]) == inputs.size


def test_exports_take_any_batch():
    [batch] = jax.export.symbolic_shape("batch")
    example = jax.ShapeDtypeStruct((batch, 6, 5, 2), jnp.float32)
    for size, groups in ((3, 1), (1, 1), (3, 2)):
        module = convolution.Convolution(2 if groups == 2 else 4, size, 2, groups)
        kernel = draw(size, size, 2 // groups, module.features)
        apply = jax.jit(lambda x, m=module, w=kernel: m.apply({"params": {"kernel": w}}, x))
        exported = jax.export.export(apply)(example)
        for count in (1, 3):
            inputs = draw(count, 6, 5, 2)
            np.testing.assert_allclose(exported.call(inputs), apply(inputs), **TOLERANCE)


@pytest.mark.parametrize(("size", "height", "width"), [(2, 7, 5), (3, 6, 6)])
def test_pooling(size, height, width):
    inputs = draw(2, height, width, 3)
    window = (1, size, size, 1)

    def reference_pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    pooled = convolution.pool_maximum(inputs, size)
    theirs = torch.nn.functional.max_pool2d(
        torch.tensor(np.asarray(inputs).transpose(0, 3, 1, 2)), size
    )
    np.testing.assert_array_equal(pooled, theirs.numpy().transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(pooled, reference_pool(inputs))
    own, other = (
        jax.grad(lambda x, f=f: (weigh(v := f(x)) * v).sum())(inputs)
        for f in (lambda x: convolution.pool_maximum(x, size), reference_pool)
    )
    np.testing.assert_allclose(own, other, rtol=1e-6)
