"""Convolutions in every formulation beside XLA's own, and pooling."""

import jax
import jax.numpy as jnp
import numpy as np
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


@settings(max_examples=12)
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
