"""Sheets of example images: those nearest to pseudo-subclasses, and those methods disagree on.

Pixels are drawn one to one or enlarged a whole number of times, so that small images stay sharp.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from lelp_jax.core import files
from lelp_jax.report.figures.plots import COLOURS, shorten_line

_DPI = 100
# Sizes in pixels. A tile is the square that an image is drawn into.
TILE, GAP = 84, 6
_MARGIN, _LABEL, _TEXT = 12, 190, 200
_LINE = 15
_FONT = 9
_COLUMNS = 3
_MOST_LINES = 5
# What fits on a line beside an image.
MOST_CHARACTERS = 27
# Photographs as large as a tile take some kilobytes each. A sheet of many is reduced to 256
# colours, which shows what is on them as well.
_MOST_BYTES = 250_000
_RIGHT, _WRONG = COLOURS[2], COLOURS[1]


class Answer(NamedTuple):
    """A line beside an image.

    Attributes:
        text: What methods say.
        right: Whether it is the image's class.
    """

    text: str
    right: bool


class Example(NamedTuple):
    """An image with what is said of it.

    Attributes:
        image: The image, [height, width, channels] uint8.
        title: Its class.
        answers: What the methods say.
    """

    image: np.ndarray
    title: str
    answers: Sequence[Answer]


def draw_rows(path: Path, rows: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Draws rows of images, each with a title on its left.

    Args:
        path: The file to write.
        rows: The images of each row, [images, height, width, channels] uint8; a row may be empty.
        titles: One title per row, of one or more lines.
    """
    across = max(1, *map(len, rows))
    width = _MARGIN + _LABEL + across * (TILE + GAP) + _MARGIN
    figure, height = _open_figure(width, len(rows) * (TILE + GAP))
    for number, (images, title) in enumerate(zip(rows, titles, strict=True)):
        top = _MARGIN + number * (TILE + GAP)
        _write(figure, title, _MARGIN, top + TILE / 2, centred=True)
        for place, image in enumerate(images):
            left = _MARGIN + _LABEL + place * (TILE + GAP)
            _paste(figure, image, left, height - top - TILE)
    _save(figure, path)


def draw_examples(path: Path, examples: Sequence[Example]) -> None:
    """Draws images in three columns, each with its class and the methods' answers on its right.

    Right answers are green, wrong ones orange.

    Args:
        path: The file to write.
        examples: The images, at least one.
    """
    across, down = min(_COLUMNS, len(examples)), -(-len(examples) // _COLUMNS)
    cell = TILE + GAP + _TEXT
    figure, height = _open_figure(_MARGIN + across * cell + _MARGIN, down * (TILE + 2 * GAP))
    for place, example in enumerate(examples):
        left = _MARGIN + (place % _COLUMNS) * cell
        top = _MARGIN + (place // _COLUMNS) * (TILE + 2 * GAP)
        _paste(figure, example.image, left, height - top - TILE)
        lines = [(shorten_line(example.title, MOST_CHARACTERS), "black")]
        shown = example.answers
        if len(shown) > _MOST_LINES - 1:
            shown = shown[: _MOST_LINES - 2]
        lines += [
            (shorten_line(text, MOST_CHARACTERS), _RIGHT if right else _WRONG)
            for text, right in shown
        ]
        if len(shown) < len(example.answers):
            lines.append((f"and {len(example.answers) - len(shown)} other answers", "0.4"))
        for number, (text, colour) in enumerate(lines):
            _write(figure, text, left + TILE + GAP, top + number * (_LINE + 2), colour=colour)
    _save(figure, path)


def _open_figure(width: int, height: int) -> tuple[Figure, int]:
    """Opens a figure of so many pixels and a margin above and below; returns its whole height."""
    height += 2 * _MARGIN - GAP
    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI), height


def _write(
    figure: Figure,
    text: str,
    left: float,
    top: float,
    *,
    colour: str = "black",
    centred: bool = False,
) -> None:
    width, height = figure.get_size_inches() * _DPI
    figure.text(
        left / width,
        1 - top / height,
        text,
        fontsize=_FONT,
        color=colour,
        va="center" if centred else "top",
        # Class names are data: a "$" in one must not start a formula.
        parse_math=False,
    )


def _paste(figure: Figure, image: np.ndarray, left: int, bottom: int) -> None:
    """Draws an image in the middle of the tile whose lower left corner is given."""
    fitted = fit_into_tile(image)
    # Figures count from below, and `origin` says so of the image.
    figure.figimage(
        fitted,
        left + (TILE - fitted.shape[1]) // 2,
        bottom + (TILE - fitted.shape[0]) // 2,
        origin="upper",
    )


def fit_into_tile(image: np.ndarray) -> np.ndarray:
    """Enlarges an image a whole number of times, or reduces it, to fit a tile.

    Args:
        image: The image, [height, width, channels] uint8.

    Returns:
        Colours, [height, width, 3] uint8.
    """
    image = np.broadcast_to(image, (*image.shape[:2], 3))
    longest = max(image.shape[:2])
    if longest <= TILE:
        times = TILE // longest
        return image.repeat(times, axis=0).repeat(times, axis=1)
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((TILE, TILE))
    return np.asarray(picture)


def _save(figure: Figure, path: Path) -> None:
    """Saves a figure as PNG; one that would be a large file with 256 colours."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=_DPI, format="png")
    if buffer.getbuffer().nbytes > _MOST_BYTES:
        picture = Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        buffer = io.BytesIO()
        picture.save(buffer, format="png", optimize=True)
    files.write_atomic(path, buffer.getvalue())
