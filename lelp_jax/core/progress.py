"""Shows the progress of a run: bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import contextlib
import datetime
import logging
import sys
import time
from collections.abc import Iterator

import absl.logging
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from lelp_jax.core import terminal

_LOG = logging.getLogger(__name__)
# Keeps the logs of long runs readable.
_SECONDS_BETWEEN_LINES = 5.0


class Reporter:
    """Shows progress bars on a terminal and plain log lines elsewhere, on standard error."""

    def __init__(self) -> None:
        self.console = terminal.open_console(stderr=True)
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._name, self._total, self._done, self._unit = "", 0, 0, ""
        self._start = self._last = 0.0

    def log(self, message: str) -> None:
        """Prints one line, above the progress bar if there is one."""
        if self._bars is not None:
            self._bars.console.print(message)
        elif self.console.is_terminal:
            self.console.print(message)
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
                TextColumn("{task.fields[unit]}, {task.fields[rate]},"),
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
        seconds = max(now - self._start, 1e-9)
        rate = _format_rate(self._done, seconds, self._unit)
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=amount, rate=rate)
        elif self._done and now - self._last > _SECONDS_BETWEEN_LINES:
            self._last = now
            left = (self._total - self._done) * seconds / self._done
            _LOG.info(
                "%s: %d/%d %s, %s, %s left",
                self._name,
                self._done,
                self._total,
                self._unit,
                rate,
                datetime.timedelta(seconds=round(left)),
            )


def _format_rate(done: int, seconds: float, unit: str) -> str:
    """Formats a rate, "340/s", "2.5/s", or, where it is below one, "12.3 s/step".

    Args:
        done: Amount of work.
        seconds: Time that it took.
        unit: Unit of the amount, in the plural.
    """
    rate = done / seconds
    if rate >= 1:
        return f"{rate:,.{0 if rate >= 10 else 1}f}/s"
    return f"{seconds / done:,.1f} s/{unit.removesuffix('s')}" if done else "-"


def set_up_logging(*, debug: bool = False) -> None:
    """Sends log lines to standard error, each with the time, whatever its encoding.

    Args:
        debug: Whether to show lines of level DEBUG, such as one for every compiled program.
    """
    terminal.set_up_streams()
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
