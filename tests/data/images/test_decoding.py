"""What becomes of images that are not plain 8-bit ones, in a folder of them."""

import io
import logging
import re
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image, ImageOps

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.images import decoding
from lelp_jax.data.sources.images.folder import ImageFolder
from tests.helpers import pictures

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
COLOUR, LABELS = pictures.draw(24, 2, 16)
GREY = COLOUR[..., :1]
RGB = Image.fromarray(COLOUR[0])
L = Image.fromarray(GREY[0, ..., 0])
OTHER = Image.fromarray(COLOUR[1])


def load(
    folder: Path, picture: Image.Image | bytes, suffix: str = ".png", **settings: object
) -> tuple[np.ndarray, data.Dataset]:
    """Loads right pictures and one more of the class "bars"; returns what that one became."""
    save = settings.pop("save", {})
    images = GREY if settings.pop("grey", False) else COLOUR
    pictures.save_folder(folder / "p", images, LABELS)
    path = folder / "p/bars" / f"extra{suffix}"
    if isinstance(picture, bytes):
        path.write_bytes(picture)
    else:
        picture.save(path, **save)  # type: ignore[arg-type]
    found = data.load(ImageFolder(folder=str(folder / "p"), **settings), SPLIT)  # type: ignore[arg-type]
    assert found.ids is not None
    (row,) = np.flatnonzero(found.ids == f"bars/extra{suffix}")
    return found.inputs[row], found


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def with_alpha(picture: Image.Image) -> Image.Image:
    result = picture.convert("RGBA")
    result.putalpha(Image.fromarray(np.tile(np.arange(0, 256, 16, np.uint8), (16, 1))))
    return result


def on_white(picture: Image.Image) -> np.ndarray:
    values = np.asarray(picture, np.float64)
    alpha = values[..., 3:] / 255
    return values[..., :3] * alpha + 255 * (1 - alpha)


PALETTE = RGB.quantize(8)
TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    ("picture", "suffix", "options", "expected", "note"),
    [
        (RGB, ".png", {}, COLOUR[0], ""),
        (RGB, ".bmp", {}, COLOUR[0], ""),
        (RGB, ".webp", {"lossless": True}, COLOUR[0], ""),
        (RGB, ".TIFF", {}, COLOUR[0], ""),
        (with_alpha(RGB), ".png", {}, on_white(with_alpha(RGB)), decoding.TRANSPARENT),
        (PALETTE, ".png", {}, np.asarray(PALETTE.convert("RGB")), decoding.PALETTE),
        (RGB.convert("CMYK"), ".tif", {}, COLOUR[0], decoding.INKS),
        (
            PALETTE,
            ".gif",
            {"save_all": True, "append_images": [OTHER.quantize(8)]},
            np.asarray(PALETTE.convert("RGB")),
            decoding.FRAMES,
        ),
        (RGB, ".png", {"exif": TURNED}, np.rot90(COLOUR[0], -1), decoding.TURNED),
        (L, ".png", {}, np.repeat(GREY[0], 3, -1), "are grey and are converted to colour"),
    ],
)
def test_colours(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    picture: Image.Image,
    suffix: str,
    options: dict,
    expected: np.ndarray,
    note: str,
) -> None:
    caplog.set_level(logging.INFO)
    found, _ = load(tmp_path, picture, suffix, save=options)
    assert found.shape == (16, 16, 3)
    np.testing.assert_allclose(found, expected, atol=1)
    shown = f"1 of 25 images {note} (the first is {tmp_path}/p/bars/extra{suffix})"
    assert (shown in caplog.text) == bool(note)
    assert ("images" in caplog.text) == bool(note)


WIDE = np.arange(256, dtype=np.uint16).reshape(16, 16) * 256


@pytest.mark.parametrize(
    ("picture", "suffix", "expected", "note"),
    [
        (Image.fromarray(WIDE), ".png", np.round(WIDE / 257), decoding.WIDE),
        (Image.fromarray(WIDE), ".tif", np.round(WIDE / 257), decoding.WIDE),
        (L.point(lambda value: 255 * (value > 99)).convert("1"), ".png", None, ""),
        (RGB, ".png", np.asarray(RGB.convert("L")), ""),
    ],
)
def test_grey(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    picture: Image.Image,
    suffix: str,
    expected: np.ndarray | None,
    note: str,
) -> None:
    caplog.set_level(logging.INFO)
    found, dataset = load(tmp_path, picture, suffix, grey=True, channels=1)
    assert dataset.inputs.shape == (25, 16, 16, 1)
    wanted = 255.0 * (GREY[0, ..., 0] > 99) if expected is None else expected
    np.testing.assert_array_equal(found[..., 0], wanted)
    assert note in caplog.text


def test_colour_of_16_bits_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    import struct
    import zlib

    # Pillow writes none: the signature and three chunks.
    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    wide = COLOUR[0].astype(">u2") * 257
    lines = b"".join(b"\0" + line.tobytes() for line in wide)
    header = struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    caplog.set_level(logging.INFO)
    found, _ = load(tmp_path, content)
    np.testing.assert_array_equal(found, COLOUR[0])
    assert decoding.WIDE in caplog.text


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_an_image_that_is_not_square(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = RGB.resize((12, 9))
    content = encode(picture, "PNG", exif=exif)
    # The first row and column of the file are these sides of the scene (EXIF 2.3, 4.6.4).
    pixels = np.asarray(picture)
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels),
    }[orientation]
    header = decoding.read_header(content, "x.png")
    assert (header.height, header.width) == upright.shape[:2]
    target = decoding.Target(header.height, header.width, 3, "crop")
    np.testing.assert_array_equal(decoding.decode(content, "x.png", target), upright)


def test_auto_is_grey_where_all_are(tmp_path: Path) -> None:
    assert load(tmp_path, L, grey=True)[1].inputs.shape[-1] == 1


@pytest.mark.parametrize("rule", ["crop", "squeeze"])
def test_resized(tmp_path: Path, caplog: pytest.LogCaptureFixture, rule: str) -> None:
    caplog.set_level(logging.INFO)
    large = RGB.resize((64, 40), Image.Resampling.NEAREST)
    found, dataset = load(tmp_path, large, size=(8, 12), resize=rule)
    assert dataset.inputs.shape == (25, 8, 12, 3)
    if rule == "crop":
        # As wide as 1.5 heights: 60 of 64 columns.
        expected = large.crop((2, 0, 62, 40)).resize((12, 8), Image.Resampling.BILINEAR)
        assert "25 of 25 images are scaled and cropped to 8x12 (the first is" in caplog.text
    else:
        expected = large.resize((12, 8), Image.Resampling.BILINEAR)
        assert "25 of 25 images are squeezed to 8x12 (the first is" in caplog.text
    np.testing.assert_allclose(found.astype(int), np.asarray(expected).astype(int), atol=5)


def test_enlarged_images_are_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    load(tmp_path, RGB.resize((4, 20)), size=(16,))
    assert "1 of 25 images are scaled and cropped to 16x16, which enlarges them" in caplog.text


def test_a_large_jpeg_is_scaled_like_its_pixels() -> None:
    waves = np.add.outer(np.sin(np.arange(600) / 40), np.cos(np.arange(800) / 50))
    large = Image.fromarray(np.uint8(127 + 60 * waves))
    target = decoding.Target(32, 32, 1, "crop")
    found = decoding.decode(encode(large, "JPEG", quality=95), "large.jpg", target)
    expected = ImageOps.fit(large, (32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found[..., 0].astype(int), np.asarray(expected).astype(int), atol=3)


def huge() -> bytes:
    """Returns a PNG file that says that it has 12,000 x 12,000 pixels."""
    import struct
    import zlib

    content = bytearray(encode(L, "PNG"))
    content[16:24] = struct.pack(">II", 12_000, 12_000)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


PNG = encode(RGB, "PNG")


@pytest.mark.parametrize(
    ("picture", "suffix", "message"),
    [
        (b"hello world, this is text", ".png", "begins with b'hello world, thi' and is no image"),
        (b"", ".jpg", "extra.jpg is empty and is no image that Pillow reads; replace or remove"),
        (PNG[: len(PNG) // 2], ".png", "extra.png is damaged (image file is truncated"),
        (encode(RGB, "JPEG")[:300], ".jpg", "extra.jpg is"),
        (PNG[:60] + bytes(40) + PNG[100:], ".png", "extra.png is damaged ("),
        (huge(), ".png", "extra.png has 12000x12000 pixels, more than the 89,478,485 that are"),
        (RGB.resize((1, 1)), ".png", "extra.png is a single pixel, no picture; remove it"),
        (
            RGB.resize((30, 20)),
            ".png",
            "extra.png has 20x30 pixels (height x width), but ",
        ),
        (Image.fromarray(np.ones((16, 16), np.float32)), ".tif", "(TIFF, mode F), whose range"),
        (Image.fromarray(np.ones((16, 16), np.int32)), ".tif", "(TIFF, mode I), whose range is"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, picture: Image.Image | bytes, suffix: str, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(tmp_path, picture, suffix)
    assert str(caught.value).startswith(str(tmp_path / "p/bars/extra"))
    assert "\n" not in str(caught.value)


def test_how_many_more_are_damaged_is_said(tmp_path: Path) -> None:
    (tmp_path / "p/rows").mkdir(parents=True)
    for number in range(3):
        (tmp_path / f"p/rows/x{number}.png").write_bytes(b"no")
    with pytest.raises(UserError, match=r"extra\.png begins .*; 3 more cannot be used, such as"):
        load(tmp_path, b"no")


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "extra.png")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(PermissionError):
        load(tmp_path, RGB)


KINDS = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "TGA", "ICO")
CONTENTS = [encode(RGB.resize((12, 9)), kind) for kind in KINDS]
TARGET = decoding.Target(9, 12, 3, "crop")


@hypothesis.given(
    st.sampled_from(CONTENTS),
    st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=6),
    st.integers(0, 1200),
)
@hypothesis.settings(deadline=None, max_examples=150)
def test_damage_is_refused_or_harmless(
    content: bytes, changes: list[tuple[int, int]], length: int
) -> None:
    changed = bytearray(content[: max(length, 1)])
    for place, value in changes:
        changed[place % len(changed)] = value
    try:
        with decoding.quiet_pillow():
            header = decoding.read_header(bytes(changed), "x.png")
            if header.height * header.width > 10**6:
                return
            image = decoding.decode(bytes(changed), "x.png", TARGET)
    except UserError as error:
        message = str(error)
        hypothesis.event("refused")
    else:
        message = "x.png "
        assert (image.shape, image.dtype) == ((9, 12, 3), np.uint8)
    assert message.startswith("x.png ")
    assert "\n" not in message


@hypothesis.given(*[st.integers(1, 40)] * 4, st.sampled_from(["crop", "squeeze"]))
@hypothesis.settings(deadline=None, max_examples=60)
def test_every_size_becomes_every_other(
    height: int, width: int, to_height: int, to_width: int, rule: decoding.Resize
) -> None:
    target = decoding.Target(to_height, to_width, 1, rule)
    # Of one grey: whatever is scaled or cut away, nothing else may come in.
    picture = encode(Image.new("L", (width, height), 77), "PNG")
    found = decoding.decode(picture, "x.png", target)
    np.testing.assert_array_equal(found, np.full((to_height, to_width, 1), 77))
