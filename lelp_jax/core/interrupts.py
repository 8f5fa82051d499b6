"""Stops a run on Ctrl-C or SIGTERM without losing its progress."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from lelp_jax.core.errors import Interrupted


class Interrupts:
    """Turns Ctrl-C and SIGTERM into a request that running work checks between dispatches.

    Python would otherwise raise KeyboardInterrupt at an arbitrary point, for example while a file
    is being written. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self._received: int | None = None

    @contextlib.contextmanager
    def listen(self) -> Iterator[Interrupts]:
        """Installs the signal handlers while the block runs, then restores the previous ones.

        Signals that the process ignores, as shells make background commands ignore Ctrl-C, remain
        ignored.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}
        handled = [number for number in numbers if before[number] is not signal.SIG_IGN]
        for number in handled:
            signal.signal(number, self._receive)
        try:
            yield self
        finally:
            for number in handled:
                signal.signal(number, before[number])

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._received = number
        # With the default handler, a second signal ends a run that is stuck.
        signal.signal(number, signal.SIG_DFL)

    @property
    def requested(self) -> bool:
        """Whether the run was asked to stop."""
        return self._received is not None

    def check(self) -> None:
        """Ends the run if it was asked to stop.

        Raises:
            Interrupted: A signal was received.
        """
        if self._received is not None:
            raise Interrupted(self._received)
