"""Random examples for a time: every one has a seed, with which it is made again.

FUZZ_MINUTES is the time of all files together, FUZZ_SEED checks that one example alone.
"""

import contextlib
import logging
import os
import random
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lelp_jax.core.errors import UserError

MINUTES = float(os.environ.get("FUZZ_MINUTES", "10"))
SEED = os.environ.get("FUZZ_SEED", "")
MOST_SECONDS = 2.0
MOST_BYTES = 1 << 30
# How many tests share the time.
_SHARES = 11


def check(example: Callable[[random.Random], bool]) -> None:
    """Runs examples, and fails with a seed for each place at which one failed.

    Args:
        example: Draws one, and raises an error where it finds a mistake. Returns whether the
            package took what it was given; most of the examples must not be refused.
    """
    if SEED:
        example(random.Random(int(SEED)))
        return
    # Thousands of warnings would hide the findings.
    logging.getLogger("lelp_jax").setLevel(logging.ERROR)
    first = time.time_ns() // 1000
    end = time.monotonic() + 60 * MINUTES / _SHARES
    failures: dict[object, list[str]] = {}
    number = taken = 0
    while time.monotonic() < end or number < 3:
        seed = first + number
        number += 1
        try:
            taken += example(random.Random(seed))
        # Whatever is raised is a finding.
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = (type(error), last.filename, last.lineno)
            trace = traceback.format_exc()
            failures.setdefault(place, []).append(f"FUZZ_SEED={seed}\n{trace}")
    print(f"{number} examples, {taken} taken, {len(failures)} kinds of failure")
    if failures:
        pytest.fail(
            "\n\n".join(f"{len(found)} times, first {found[0]}" for found in failures.values()),
            pytrace=False,
        )
    assert number < 100 or taken > 0


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Checks that what is done inside takes little time and memory, and errors are of one line.

    A `UserError` passes through, after its message was checked.
    """
    _reset_peak()
    before, start = _read_peak(), time.process_time()
    try:
        yield
    except UserError as error:
        text = str(error)
        assert "\n" not in text, f"several lines: {text!r}"
        assert len(text) < 1000, f"{len(text)} characters: {text[:1000]!r}"
        raise
    finally:
        seconds, size = time.process_time() - start, _read_peak() - before
        assert seconds < MOST_SECONDS, f"{seconds:.1f} s"
        assert size < MOST_BYTES, f"{size:,} bytes"


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _read_peak() -> int:
    """Reads the most memory that the process had; 0 where Linux does not tell it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
