"""What a run shares with its user: progress, the log of training curves, and being stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import absl.logging
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from lelp_jax import files
from lelp_jax.errors import Interrupted

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_LINES = 5.0


class Interrupts:
    """Turns Ctrl-C and SIGTERM into a request that the work looks at between dispatches.

    A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self._received: int | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[Interrupts]:
        """Installs the handlers, and puts the old ones back at the end.

        A signal that is ignored, as Ctrl-C is by a command in the background, stays so.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}
        heard = [number for number in numbers if before[number] is not signal.SIG_IGN]
        for number in heard:
            signal.signal(number, self._receive)
        try:
            yield self
        finally:
            for number in heard:
                signal.signal(number, before[number])

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._received = number
        signal.signal(number, signal.SIG_DFL)

    @property
    def requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self._received is not None

    def check(self) -> None:
        """Ends the run if it was asked to stop.

        Raises:
            Interrupted: It was.
        """
        if self._received is not None:
            raise Interrupted(self._received)


class CurveLog:
    """The file `metrics.jsonl`: training losses of every fleet, one line per stretch of steps."""

    def __init__(self, path: Path):
        """Opens the log; what a killed run wrote of a line is dropped when the file is cut."""
        self._path = path
        self._fleets = {line["fleet"] for line in self.read()}

    def read(self) -> list[dict[str, Any]]:
        """Returns all whole lines, in order."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return []
        lines = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def cut(self, fleet: str, step: int) -> None:
        """Removes what was logged of a fleet beyond the step that it resumes from."""
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._fleets.add(fleet)
        if fleet in self._fleets:
            kept = [x for x in self.read() if x["fleet"] != fleet or x["step"] <= step]
            files.write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Appends lines; they are in the file when this returns."""
        with open(self._path, "a") as file:
            file.write("".join(json.dumps(files.clean(line)) + "\n" for line in lines))


class Reporter:
    """Shows progress: bars on a terminal, plain log lines elsewhere."""

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._done, self._unit = "", 0, 0, ""
        self._start = self._last = 0.0

    def log(self, message: str) -> None:
        """Prints one line."""
        if self._bars is not None:
            self._bars.console.print(message, highlight=False, markup=False)
        elif self.console.is_terminal:
            self.console.print(message, highlight=False, markup=False)
        else:
            _LOG.info("%s", message)

    @contextlib.contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Shows one stage while the block runs.

        Args:
            name: The stage's name.
            total: Amount of work; nothing is shown when it is 0.
            unit: What the work is counted in.
        """
        self._name, self._total, self._done, self._unit = name, total, 0, unit
        self._start = self._last = time.monotonic()
        if total and self.console.is_terminal:
            self._bars = Progress(
                TextColumn("{task.description:<11}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}, {task.fields[rate]}/s,"),
                TimeRemainingColumn(),
                TextColumn("left"),
                console=self.console,
            )
            with self._bars:
                self._task = self._bars.add_task(name, total=total, unit=unit, rate="-")
                try:
                    yield
                finally:
                    self._bars.refresh()
            self._bars = self._task = None
        else:
            yield

    def advance(self, amount: int) -> None:
        """Counts work done in the stage."""
        self._done += amount
        now = time.monotonic()
        rate = self._done / max(now - self._start, 1e-9)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=amount, rate=f"{rate:,.0f}")
        elif now - self._last > _SECONDS_BETWEEN_LINES:
            self._last = now
            left = (self._total - self._done) / max(rate, 1e-9)
            _LOG.info(
                "%s: %d/%d %s, %.0f/s, %.0f s left",
                self._name,
                self._done,
                self._total,
                self._unit,
                rate,
                left,
            )


@dataclasses.dataclass(frozen=True)
class Session:
    """Passed to everything that takes long.

    Attributes:
        reporter: Shows progress.
        interrupts: Whether to stop.
        curves: The log of training losses.
        checkpoint_seconds: Time between checkpoints; 0 saves after every dispatch.
    """

    reporter: Reporter
    interrupts: Interrupts
    curves: CurveLog
    checkpoint_seconds: float


def set_up_logging() -> None:
    """Sends log lines to standard error with the time.

    The storage library logs through absl, also what it then raises; it is not heard twice.
    """
    absl.logging.set_verbosity(absl.logging.FATAL)
    logger = logging.getLogger("lelp_jax")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logger.handlers[:] = [handler]


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"[{time.strftime('%H:%M:%S')}] {level}{record.getMessage()}"
