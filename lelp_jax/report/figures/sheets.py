"""Sheets of example images: those nearest to pseudo-subclasses, and those methods disagree on.

Pixels are drawn one to one or enlarged a whole number of times, so that small images stay sharp.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from lelp_jax.core import files
from lelp_jax.report.figures.plots import COLOURS, shorten_line

_DPI = 100
# Sizes in pixels. A tile is the square that an image is drawn into.
TILE, GAP = 96, 6
_MARGIN, _LABEL, _TEXT = 12, 190, 250
_LINE = 17
_FONT = 9
_COLUMNS = 3
_MOST_LINES = 5
# What fits on a line beside an image.
_MOST_CHARACTERS = 33
# Photographs as large as a tile take many kilobytes each. A sheet of them is reduced to so many
# colours, which shows what is on them as well; noise alone needs the last number.
_MOST_BYTES = 290_000
_COLOURS = (256, 64, 16, 4)
_RIGHT, _WRONG = COLOURS[2], COLOURS[1]


class Caption(NamedTuple):
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
    answers: Sequence[Caption]


def draw_rows(path: Path, rows: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Draws rows of images, each with a title on its left.

    Args:
        path: The file to write.
        rows: The images of each row, [images, height, width, channels] uint8; a row may be empty.
        titles: One title per row, of one or more lines.
    """
    across = max(1, *map(len, rows))
    figure, height = _open_figure(_LABEL + across * (TILE + GAP), len(rows) * (TILE + GAP))
    for number, (images, title) in enumerate(zip(rows, titles, strict=True)):
        top = _MARGIN + number * (TILE + GAP)
        lines = title.splitlines()
        first = top + (TILE - len(lines) * _LINE) // 2
        for line, text in enumerate(lines):
            _write(figure, text, (_MARGIN, first + line * _LINE), _LABEL - GAP)
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
    figure, height = _open_figure(across * cell, down * (TILE + 2 * GAP))
    for place, example in enumerate(examples):
        left = _MARGIN + (place % _COLUMNS) * cell
        top = _MARGIN + (place // _COLUMNS) * (TILE + 2 * GAP)
        _paste(figure, example.image, left, height - top - TILE)
        for number, (text, colour) in enumerate(_list_lines(example)):
            corner = (left + TILE + GAP, top + number * _LINE)
            _write(figure, text, corner, _TEXT - GAP, colour)
    _save(figure, path)


def _list_lines(example: Example) -> list[tuple[str, str]]:
    """Lists the lines beside an image, with their colours; answers without room are counted."""
    lines = [(shorten_line(f"class {example.title}"), "black")]
    for number, (text, right) in enumerate(example.answers):
        wrapped = textwrap.wrap(text, _MOST_CHARACTERS, max_lines=2, placeholder=" …")
        left = len(example.answers) - number
        # The last line is for the count, unless this is the last answer.
        if len(lines) + len(wrapped) > _MOST_LINES - (left > 1):
            return [*lines, (f"and {left} other answer{'s' * (left != 1)}", "0.4")]
        lines += [(line, _RIGHT if right else _WRONG) for line in wrapped]
    return lines


def _open_figure(width: int, height: int) -> tuple[Figure, int]:
    """Opens a figure of so many pixels and a margin around them; returns its whole height."""
    width, height = width + 2 * _MARGIN, height + 2 * _MARGIN
    return Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI), height


def _write(
    figure: Figure, text: str, corner: tuple[int, int], room: int, colour: str = "black"
) -> None:
    """Writes a line of at most `room` pixels whose upper left corner is given."""
    width, height = figure.get_size_inches() * _DPI
    # Class names are data: a "$" in one must not start a formula.
    drawn = figure.text(
        corner[0] / width,
        1 - corner[1] / height,
        text,
        fontsize=_FONT,
        color=colour,
        va="top",
        parse_math=False,
    )
    # Letters differ in width, so only the drawn line tells whether it fits.
    while len(text) > 1 and drawn.get_window_extent().width > room:
        text = text[:-1]
        drawn.set_text(f"{text}…")


def _paste(figure: Figure, image: np.ndarray, left: int, bottom: int) -> None:
    """Draws an image in the middle of the tile whose lower left corner is given."""
    fitted = fit_into_tile(image)
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
    """Saves a figure as PNG; one that would be a large file with fewer colours."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    content = _encode(picture)
    for colours in _COLOURS:
        if len(content) <= _MOST_BYTES:
            break
        content = _encode(picture.quantize(colours, dither=Image.Dither.NONE))
    files.write_atomic(path, content)


def _encode(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return buffer.getvalue()
