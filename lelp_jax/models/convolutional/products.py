"""Convolutions as matrix products, for CPUs.

A convolution is linear in the image and in the kernel, so its two gradients are convolutions, too,
and each of the three may be computed in another way. On a CPU, XLA's own way is good for the first
two and bad for the gradient of the kernel, whose "image" is as small as the kernel and whose
"kernel" is as large as the image; inside of a loop it is worse by orders of magnitude, and so are
kernels that differ between the members of a fleet. The same sums as products of matrices,

    result[p, o]          = sum over t, c of image[p + t, c] kernel[t, c, o]
    kernel gradient[t, c, o] = sum over p of image[p + t, c] gradient[p, o],

take `image[p + t, c]`, the image shifted by each tap t of the kernel, beside one another in the
channels: the patches of the image. They are as many times larger than the image as the kernel has
taps. Two things keep that cheap: a few images at a time, which stay in the cache, and for the
gradient of the kernel a split of the tap t = (u, v) into its row u and column v,

    kernel gradient[u, v, c, o] = sum over p of image[p + (0, v), c] gradient[p - (u, 0), o],

where the image is shifted along its width alone and the gradient along its height: 2 k shifts
instead of k^2.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

# Bytes of the shifted copies that are multiplied at a time.
_BYTES_IN_CACHE = 3 << 19
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def convolve_plain(
    inputs: jax.Array, kernel: jax.Array, stride: int = 1, groups: int = 1
) -> jax.Array:
    """Computes a convolution in XLA's own way, [batch, height / stride, width / stride, features].

    Args:
        inputs: [batch, height, width, channels].
        kernel: [size, size, channels / groups, features].
        stride: Pixels between two places of the kernel.
        groups: In how many groups the channels are convolved.
    """
    margin = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        inputs,
        kernel,
        (stride, stride),
        [(margin, margin)] * 2,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
    )


def convolve_pixels(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Computes a convolution with a kernel of one pixel, as one product.

    Args:
        inputs: [batch, height, width, channels].
        kernel: [1, 1, channels, features].
        stride: Pixels between two places of the kernel.
    """
    return jnp.einsum("nhwc,co->nhwo", inputs[:, ::stride, ::stride], kernel[0, 0])


def convolve_channels(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Computes a depthwise convolution, each channel with a kernel of its own.

    Args:
        inputs: [batch, height, width, channels].
        kernel: [size, size, 1, channels].
        stride: Pixels between two places of the kernel.
    """
    size = kernel.shape[0]
    taps = [(row, column) for row in range(size) for column in range(size)]
    shifted = _shift_to_taps(inputs, size, stride)
    tapped = (image * kernel[tap][0] for tap, image in zip(taps, shifted, strict=True))
    return functools.reduce(jnp.add, tapped)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_by_products(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Computes a convolution whose gradients, and whose fleets, are products of matrices.

    Args:
        inputs: [batch, height, width, channels].
        kernel: [size, size, channels, features], of odd size.
        stride: Pixels between two places of the kernel.
    """
    return _convolve(inputs, kernel, stride)


def _forward(inputs: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, Any]:
    return _convolve(inputs, kernel, stride), (inputs, kernel)


def _backward(stride: int, kept: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    inputs, kernel = kept
    by_inputs = _input_gradient(gradient, kernel, stride, inputs.shape[1:3])
    return by_inputs, _kernel_gradient(inputs, gradient, stride, kernel.shape[0])


convolve_by_products.defvjp(_forward, _backward)


def _convolve(inputs: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    def alone(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_plain(inputs, kernel, stride)

    def in_fleet(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
        patches = jnp.concatenate(_shift_to_taps(inputs, kernel.shape[0], stride), axis=-1)
        return patches @ kernel.reshape(-1, kernel.shape[-1])

    return _call_by_place(alone, in_fleet, inputs, kernel)


def _input_gradient(
    gradient: jax.Array, kernel: jax.Array, stride: int, size: Sequence[int]
) -> jax.Array:
    if stride == 1:
        # The convolution with the kernel turned by half a turn.
        return _convolve(gradient, jnp.flip(kernel, (0, 1)).swapaxes(2, 3), 1)
    shape = (len(gradient), *size, kernel.shape[2])

    def alone(gradient: jax.Array, kernel: jax.Array) -> jax.Array:
        return _convolve_back(gradient, kernel, stride, size)

    def in_fleet(gradient: jax.Array, kernel: jax.Array) -> jax.Array:
        taps = kernel.shape[0] ** 2
        image = jax.ShapeDtypeStruct(shape, gradient.dtype)
        patches = gradient @ kernel.reshape(-1, kernel.shape[-1]).T
        spread = jax.linear_transpose(lambda x: _shift_to_taps(x, kernel.shape[0], stride), image)
        return spread(jnp.split(patches, taps, axis=-1))[0]

    return _call_by_place(alone, in_fleet, gradient, kernel)


def _convolve_back(
    gradient: jax.Array, kernel: jax.Array, stride: int, size: Sequence[int]
) -> jax.Array:
    """Computes the gradient of the image of a convolution that leaves out places.

    XLA would put zeros between the places of the gradient. Here each place of the gradient gives a
    square of `stride` by `stride` pixels instead, in the channels of a convolution that leaves out
    none: a place that is b places away from it saw pixel r of the square with tap r + b stride.
    """
    batch, rows, columns, features = gradient.shape
    taps, _, channels, _ = kernel.shape
    reach, margin = -(-taps // stride), taps // 2
    missing = (0, reach * stride - taps)
    whole = jnp.pad(kernel, (missing, missing, (0, 0), (0, 0)))
    whole = whole.reshape(reach, stride, reach, stride, channels, features)
    whole = jnp.flip(whole, (0, 2)).transpose(0, 2, 5, 1, 3, 4).reshape(reach, reach, features, -1)
    height, width = ((side - 1 + margin) // stride + 1 for side in size)
    padding = [(reach - 1, height - rows), (reach - 1, width - columns)]
    squares = jax.lax.conv_general_dilated(
        gradient, whole, (1, 1), padding, dimension_numbers=_LAYOUT
    )
    squares = squares.reshape(batch, height, width, stride, stride, channels)
    image = squares.transpose(0, 1, 3, 2, 4, 5)
    image = image.reshape(batch, height * stride, width * stride, channels)
    return image[:, margin : margin + size[0], margin : margin + size[1]]


def _kernel_gradient(inputs: jax.Array, gradient: jax.Array, stride: int, size: int) -> jax.Array:
    channels, features = inputs.shape[-1], gradient.shape[-1]
    if stride == 1:
        numbers = size * (inputs[0].size + gradient[0].size)
    else:
        numbers = size**2 * channels * gradient[0, ..., 0].size

    def of_part(inputs: jax.Array, gradient: jax.Array) -> jax.Array:
        if stride == 1:
            return _multiply_shifts(inputs, gradient, size)
        patches = jnp.concatenate(_shift_to_taps(inputs, size, stride), axis=-1)
        product = _sum_places(patches, gradient)
        return product.reshape(size, size, channels, features)

    # The largest number of images that fit, of those that divide the batch.
    most = max(1, _BYTES_IN_CACHE // (numbers * inputs.dtype.itemsize))
    part = max(n for n in range(1, len(inputs) + 1) if len(inputs) % n == 0 and n <= most)

    def add_part(total: jax.Array, images: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + of_part(*images), None

    parts = jax.tree.map(lambda a: a.reshape(-1, part, *a.shape[1:]), (inputs, gradient))
    start = jnp.zeros((size, size, channels, features), jnp.float32)
    return jax.lax.scan(add_part, start, parts)[0].astype(inputs.dtype)


def _multiply_shifts(inputs: jax.Array, gradient: jax.Array, size: int) -> jax.Array:
    """Computes the gradient of a kernel from shifts along one axis each."""
    margin, (_, height, width, channels) = size // 2, inputs.shape
    padded = jnp.pad(inputs, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    columns = jnp.concatenate([padded[:, :, v : v + width] for v in range(size)], axis=-1)
    reach = height + 2 * margin
    padded = jnp.pad(gradient, ((0, 0), (2 * margin, 2 * margin), (0, 0), (0, 0)))
    starts = [2 * margin - u for u in range(size)]
    rows = jnp.concatenate([padded[:, start : start + reach] for start in starts], axis=-1)
    product = _sum_places(columns, rows)
    return product.reshape(size, channels, size, -1).transpose(2, 0, 1, 3)


def _sum_places(left: jax.Array, right: jax.Array) -> jax.Array:
    """Computes [channels of left, channels of right], summed over all places of all images."""
    left, right = (array.reshape(-1, array.shape[-1]) for array in (left, right))
    return jax.lax.dot_general(
        left, right, (((0,), (0,)), ((), ())), preferred_element_type=jnp.float32
    )


def _shift_to_taps(inputs: jax.Array, size: int, stride: int) -> list[jax.Array]:
    """Shifts images by each tap of a kernel, row by row, [batch, height, width, channels] each."""
    margin, (_, height, width, _) = size // 2, inputs.shape
    padded = jnp.pad(inputs, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    return [
        padded[:, row : row + height : stride, column : column + width : stride]
        for row in range(size)
        for column in range(size)
    ]


def _call_by_place(alone: Any, in_fleet: Any, *arguments: jax.Array) -> jax.Array:
    """Calls the first function, or under vmap the second one, of the same result."""
    function = jax.custom_batching.custom_vmap(alone)

    @function.def_vmap
    def rule(
        axis_size: int, in_batched: Sequence[bool], *arguments: jax.Array
    ) -> tuple[jax.Array, bool]:
        del axis_size
        axes = tuple(0 if batched else None for batched in in_batched)
        return jax.vmap(in_fleet, axes)(*arguments), True

    result: jax.Array = function(*arguments)
    return result
