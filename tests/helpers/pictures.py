"""Small pictures whose class a small network can learn."""

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("bars", "rows", "spots", "frames")


def draw(
    count: int, classes: int = 2, size: int = 16, channels: int = 3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws pictures, each with a pattern of its class at a random place, in noise.

    Args:
        count: How many; classes take turns.
        classes: From 2 to 4 of `CLASSES`.
        size: Height and width.
        channels: 1 or 3; each colour has a brightness of its own in each picture.
        seed: Seed of all that is random.

    Returns:
        Images, [count, size, size, channels] uint8, and their labels, [count] int64.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    place = np.arange(size)[:, None] + random.integers(0, size, (count, 1, 2))
    down, right = place[:, :, None, 0], place[:, None, :, 1]
    frame = np.maximum(abs(place[:, :, None, 0] - size), abs(place[:, None, :, 1] - size))
    bars = np.broadcast_to(right // 2 % 2, (count, size, size))
    rows = np.broadcast_to(down // 2 % 2, (count, size, size))
    patterns = np.stack([bars, rows, (down // 2 + right // 2) % 2, frame // 2 % 2])
    pattern = patterns[labels, np.arange(count)][..., None]
    bright = random.uniform(90, 150, (count, 1, 1, channels))
    noise = random.normal(0, 20, (count, size, size, channels))
    pixels = 50 + pattern * bright + noise
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8), labels


def save_folder(folder: Path, images: np.ndarray, labels: np.ndarray, suffix: str = ".png") -> Path:
    """Saves pictures in a folder per class, FOLDER/bars/0000.png, and returns the folder."""
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / CLASSES[label] / f"{row:04}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(path)
    return folder


def save_arrays(path: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    """Saves pictures as the training rows of an .npz file and returns its path."""
    np.savez(path, x_train=images, y_train=labels)
    return path
