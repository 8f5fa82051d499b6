"""Many encoded images, decoded in parallel into one array per split."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, TypeVar

import numpy as np

from lelp_jax.core import progress
from lelp_jax.core.constraints import AT_LEAST_ONE
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.images import cache, decoding
from lelp_jax.data.sources.images.base import ImageSource

_LOG = logging.getLogger(__name__)
_CHUNK = 64
# What takes less is decoded again by the next run, rather than kept.
_SECONDS = 1.0
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class EncodedSplit:
    """The images of one split before they are decoded.

    Attributes:
        read: Reads them; not called where decoded images are found on disk.
        place: Names a row for a message ("photos/cat/0001.png").
    """

    read: Callable[[], Sequence[decoding.Encoded]]
    place: Callable[[int], str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncodedImageSource(ImageSource):
    """What all sources of encoded images (PNG, JPEG, ...) have in common.

    Attributes:
        size: Height and width that all images are brought to, or one number for both. Empty keeps
            them as they are, if all have the same size.
        resize: "crop" scales an image until it covers `size` and keeps the middle; "squeeze" scales
            height and width each on its own and keeps all of it.
    """

    size: tuple[Annotated[int, AT_LEAST_ONE], ...] = ()
    resize: decoding.Resize = "crop"

    def __post_init__(self) -> None:
        if len(self.size) > 2:
            raise UserError(f"size is {self.size}; give height and width, or one number for both")

    def read_images(
        self, splits: Mapping[str, EncodedSplit], origin: Mapping[str, object]
    ) -> dict[str, np.ndarray]:
        """Reads the images of all splits, [rows, height, width, channels] uint8 each.

        Args:
            splits: The encoded images.
            origin: All that they follow from, as JSON knows it.

        Raises:
            UserError: An image cannot be used.
        """
        settings = {"size": self.size, "resize": self.resize, "channels": self.channels}
        key = cache.make_key({"origin": origin, **settings})
        found = cache.load(key)
        if found is None:
            start = time.monotonic()
            found = self._decode(splits)
            if time.monotonic() - start > _SECONDS:
                cache.store(key, *found)
        images, notes = found
        for note in notes:
            _LOG.info("%s", note)
        return images

    def _decode(
        self, splits: Mapping[str, EncodedSplit]
    ) -> tuple[dict[str, np.ndarray], list[str]]:
        """Decodes the images; also returns what has to be said of them."""
        batches = [_Batch(split.read(), split.place) for split in splits.values()]
        with decoding.quiet_pillow():
            headers = [batch.read_headers() for batch in batches]
            target, notes = self._choose_target(batches, headers)
            images = {}
            for split, batch in zip(splits, batches, strict=True):
                shape = (len(batch.encoded), target.height, target.width, target.channels)
                images[split] = batch.decode(np.empty(shape, np.uint8), target)
        return images, notes

    def _choose_target(
        self, batches: Sequence[_Batch], headers: Sequence[Sequence[decoding.Header]]
    ) -> tuple[decoding.Target, list[str]]:
        """Chooses what every image becomes, and says how many are changed for it."""
        first = headers[0][0]
        height, width = first.height, first.width
        if self.size:
            height, width = self.size[0], self.size[-1]
        grey = all(header.grey for of_split in headers for header in of_split)
        channels = self.channels or (1 if grey else 3)
        target = decoding.Target(height, width, channels, self.resize)
        counts: collections.Counter[str] = collections.Counter()
        places: dict[str, str] = {}
        for batch, of_split in zip(batches, headers, strict=True):
            for row, header in enumerate(of_split):
                if not self.size and (header.height, header.width) != (height, width):
                    raise UserError(
                        f"{batch.place(row)} has {header.height}x{header.width} pixels (height x "
                        f"width), but {batches[0].place(0)} {height}x{width}; give one size for "
                        "all, as --config.data.size=32,32"
                    )
                for change in decoding.list_changes(header, target):
                    counts[change] += 1
                    if change not in places:
                        places[change] = batch.place(row)
        total = sum(map(len, headers))
        notes = [
            f"{count} of {total} images {change} (the first is {places[change]})"
            for change, count in sorted(counts.items())
        ]
        return target, notes


@dataclasses.dataclass(frozen=True)
class _Batch:
    """The images of one split, on which something is done in parallel.

    Attributes:
        encoded: The images.
        place: Names a row for a message.
    """

    encoded: Sequence[decoding.Encoded]
    place: Callable[[int], str]

    def read_headers(self) -> list[decoding.Header]:
        """Reads what all images are."""
        return self.run(
            "opening", lambda row: decoding.read_header(self.encoded[row], self.place(row))
        )

    def decode(self, images: np.ndarray, target: decoding.Target) -> np.ndarray:
        """Decodes all images into the array given, [rows, height, width, channels] uint8."""

        def decode(row: int) -> None:
            images[row] = decoding.decode(self.encoded[row], self.place(row), target)

        self.run("decoding", decode)
        return images

    def run(self, name: str, function: Callable[[int], _Result]) -> list[_Result]:
        """Calls a function with each row; threads share the work, as Pillow releases the GIL.

        Args:
            name: What it does, for the progress bar.
            function: Called with a row's number.

        Raises:
            UserError: It raised one; the first is shown, and how many others there are.
        """
        # Imported here, as it imports JAX, which the other sources do without.
        from lelp_jax.core import parallel

        failed: list[tuple[int, UserError]] = []

        def work(rows: range) -> list[_Result]:
            results = []
            for row in rows:
                try:
                    results.append(function(row))
                except UserError as error:
                    failed.append((row, error))
            return results

        results: list[_Result] = []
        count = len(self.encoded)
        chunks = [range(start, min(start + _CHUNK, count)) for start in range(0, count, _CHUNK)]
        reporter = progress.Reporter()
        pool = ThreadPoolExecutor(parallel.count_cores())
        try:
            with reporter.show_stage(name, count, "images"):
                for chunk, found in zip(chunks, pool.map(work, chunks), strict=True):
                    results += found
                    reporter.advance(len(chunk))
        finally:
            pool.shutdown(cancel_futures=True)
        if failed:
            failed.sort(key=lambda failure: failure[0])
            (_, error), *others = failed
            more = ""
            if others:
                more = f"; {len(others)} more cannot be used, such as {self.place(others[0][0])}"
            raise UserError(f"{error}{more}") from error
        return results
