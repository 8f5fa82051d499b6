"""Shows the progress of a run: bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator

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

_LOG = logging.getLogger(__name__)
# Keeps the logs of long runs readable.
_SECONDS_BETWEEN_LINES = 5.0


class Reporter:
    """Shows progress bars on a terminal and plain log lines elsewhere.

    Args:
        console: Where to print; standard error by default.
    """

    def __init__(self, console: Console | None = None):
        self.console = console or Console(stderr=True)
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._done, self._unit = "", 0, 0, ""
        self._start = self._last = 0.0

    def log(self, message: str) -> None:
        """Prints one line, above the progress bar if there is one."""
        if self._bars is not None:
            self._bars.console.print(message, highlight=False, markup=False)
        elif self.console.is_terminal:
            self.console.print(message, highlight=False, markup=False)
        else:
            _LOG.info("%s", message)

    @contextlib.contextmanager
    def show_stage(self, name: str, total: int, unit: str) -> Iterator[None]:
        """Shows the progress of one stage while the block runs.

        Args:
            name: The stage's name.
            total: Amount of work; if it is 0, nothing is shown.
            unit: Unit of the amount ("steps").
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
        """Adds to the work done in the current stage."""
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


def set_up_logging(*, debug: bool = False) -> None:
    """Sends log lines to standard error, each with the time.

    Args:
        debug: Whether to show lines of level DEBUG, such as one for every compiled program.
    """
    # Orbax logs errors through absl in addition to raising them; each should appear once.
    absl.logging.set_verbosity(absl.logging.FATAL)
    logger = logging.getLogger("lelp_jax")
    logger.setLevel(logging.DEBUG if debug else logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    logger.handlers[:] = [handler]


class _Formatter(logging.Formatter):
    """Formats lines as "[12:34:56] warning: message"; INFO, the usual level, is left out."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"[{time.strftime('%H:%M:%S')}] {level}{record.getMessage()}"
