"""Images for tests of augmentation: two shapes, so that programs are compiled twice at most."""

import numpy as np
from hypothesis import strategies as st
from PIL import Image


@st.composite
def draw_images(draw: st.DrawFn) -> np.ndarray:
    """Draws images [17, 19, 1] or [17, 19, 3] with few or many values."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (17, 19, draw(st.sampled_from([1, 3])))
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    image = random.integers(low, high + 1, shape, np.uint8)
    # Large areas of one value, and another that is rare.
    share = draw(st.sampled_from([0, 0.5, 0.99]))
    return np.where(random.random(shape) < share, np.uint8(draw(st.integers(0, 255))), image)


def to_pillow(image: np.ndarray) -> Image.Image:
    """Converts an image [height, width, channels] uint8; one channel is Pillow's mode L."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
