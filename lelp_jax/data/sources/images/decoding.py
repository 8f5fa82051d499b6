"""Decodes encoded images with Pillow, one at a time, without changing anything unsaid."""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.images.pixel_arrays import scale_16_bits

if TYPE_CHECKING:
    from PIL import Image as pillow

# A file, or the content of one.
Encoded = Path | bytes
# "crop" scales the short side and cuts out the middle, "squeeze" scales both sides.
Resize = Literal["crop", "squeeze"]

_ORIENTATION = 0x0112  # The EXIF tag, whose value 1 is upright.
_TURNED = range(2, 9)
_SIDEWAYS = range(5, 9)  # Height and width change places.
# Modes of Pillow, https://pillow.readthedocs.io/en/stable/handbook/concepts.html#modes.
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N")
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_WIDE = ("I", "I;16", "I;16L", "I;16B", "I;16N")
# Formats of which Pillow reads 16 bits into the mode of 32.
_WIDE_FORMATS = ("PNG", "PPM")

PALETTE = "have a palette, which is resolved"
INKS = "are CMYK and are converted to RGB"
TRANSPARENT = "have transparency and are put on white"
WIDE = "have 16 bits and are scaled to 8"
FRAMES = "have several frames, of which the first is taken"
TURNED = "are turned as their EXIF orientation says"


@dataclasses.dataclass(frozen=True)
class Header:
    """What an image is before its pixels are decoded.

    Attributes:
        height: In pixels, as it is seen: after the rotation that EXIF asks for.
        width: In pixels.
        grey: Whether it is stored without colours.
        notes: What has to be done to its pixels.
    """

    height: int
    width: int
    grey: bool
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Target:
    """What every image becomes.

    Attributes:
        height: In pixels.
        width: In pixels.
        channels: 1 or 3.
        resize: How images of another size are brought to this one.
    """

    height: int
    width: int
    channels: int
    resize: Resize


def read_header(image: Encoded, place: str) -> Header:
    """Reads what an image is.

    Args:
        image: The encoded image.
        place: Names it for a message ("photos/cat/0001.png").

    Raises:
        UserError: It is not an image that can be used.
        OSError: Its file cannot be read.
    """
    from PIL import Image

    with _open(image, place) as opened:
        width, height = opened.size
        if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
            raise UserError(
                f"{place} has {height}x{width} pixels, more than the {Image.MAX_IMAGE_PIXELS:,} "
                "that are safe to decode; make it smaller"
            )
        if width == height == 1:
            raise UserError(f"{place} is a single pixel, no picture; remove it")
        if opened.mode == "F" or (opened.mode == "I" and opened.format not in _WIDE_FORMATS):
            raise UserError(
                f"{place} holds numbers of 32 bits ({opened.format}, mode {opened.mode}), whose "
                "range is not known; save it with 8 or 16 bits per channel"
            )
        orientation = _read_orientation(opened)
        if orientation in _SIDEWAYS:
            width, height = height, width
        found = {
            PALETTE: opened.mode in ("P", "PA"),
            INKS: opened.mode == "CMYK",
            TRANSPARENT: _is_transparent(opened),
            WIDE: opened.mode in _WIDE or ";16" in str(getattr(opened, "tile", "")[:1]),
            FRAMES: getattr(opened, "n_frames", 1) > 1,
            TURNED: orientation in _TURNED,
        }
        grey = opened.mode in _GREY
    return Header(height, width, grey, tuple(note for note, holds in found.items() if holds))


def list_changes(header: Header, target: Target) -> list[str]:
    """Lists what happens to an image on its way to the target, in words that follow "images".

    Args:
        header: The image.
        target: What it becomes.
    """
    changes = list(header.notes)
    if header.grey != (target.channels == 1):
        kinds = ("grey", "colour") if header.grey else ("coloured", "grey")
        changes.append("are {} and are converted to {}".format(*kinds))
    if (header.height, header.width) != (target.height, target.width):
        how = "scaled and cropped" if target.resize == "crop" else "squeezed"
        larger = header.height < target.height or header.width < target.width
        size = f"{target.height}x{target.width}"
        changes.append(f"are {how} to {size}{', which enlarges them' if larger else ''}")
    return changes


def decode(image: Encoded, place: str, target: Target) -> np.ndarray:
    """Decodes an image, [height, width, channels] uint8.

    Args:
        image: The encoded image.
        place: Names it for a message.
        target: What it becomes.

    Raises:
        UserError: It is damaged.
        OSError: Its file cannot be read.
    """
    from PIL import Image, ImageOps

    size = target.width, target.height
    with _open(image, place) as opened:
        # A JPEG may be decoded at a half, a quarter or an eighth of its size, at least twice that
        # of the target here, so that scaling still averages over the pixels.
        opened.draft(None, (2 * max(size),) * 2)
        turned = _read_orientation(opened) in _TURNED
        upright = ImageOps.exif_transpose(opened) if turned else opened
        plain = _reduce_to_8_bits(upright, "L" if target.channels == 1 else "RGB")
        if plain.size != size:
            bilinear = Image.Resampling.BILINEAR
            if target.resize == "crop":
                plain = ImageOps.fit(plain, size, bilinear)
            else:
                plain = plain.resize(size, bilinear)
        return np.asarray(plain).reshape(target.height, target.width, target.channels)


def _reduce_to_8_bits(image: pillow.Image, mode: str) -> pillow.Image:
    """Converts an image to the mode "L" or "RGB"."""
    from PIL import Image

    if image.mode in _WIDE:
        image = Image.fromarray(scale_16_bits(np.asarray(image).astype(np.uint16)))
    if _is_transparent(image):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    elif image.mode not in ("1", "L", "RGB"):
        # Not straight to grey: not from every mode is there a way.
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _read_orientation(image: pillow.Image) -> object:
    """Reads the EXIF orientation; None where there is none."""
    from PIL import Image

    # Not `image.getexif()`: for a PNG that decodes all pixels, in search of EXIF after them.
    return Image.Image.getexif(image).get(_ORIENTATION)


def _is_transparent(image: pillow.Image) -> bool:
    return image.mode in _ALPHA or "transparency" in image.info


@contextmanager
def _open(image: Encoded, place: str) -> Iterator[pillow.Image]:
    """Opens an image; tells what is wrong with it in one line."""
    from PIL import Image, UnidentifiedImageError

    source = io.BytesIO(image) if isinstance(image, bytes) else image
    try:
        with Image.open(source) as opened:
            yield opened
    except UserError:
        raise
    except UnidentifiedImageError:
        content = image[:16] if isinstance(image, bytes) else _read_start(image)
        held = f"begins with {content!r}" if content else "is empty"
        raise UserError(
            f"{place} {held} and is no image that Pillow reads; replace or remove it"
        ) from None
    except Image.DecompressionBombError:
        raise UserError(
            f"{place} has far more than the {Image.MAX_IMAGE_PIXELS:,} pixels that are safe to "
            "decode; make it smaller"
        ) from None
    except Exception as error:
        # The operating system's errors name the file. Pillow's are of any type.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{place} is damaged ({reason}); replace or remove it") from error


def _read_start(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(16)


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Silences Pillow's warnings: what they are about is refused, noted or does not matter.

    Enter it once around all threads, as warnings are those of the whole process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield
