"""Being stopped by Ctrl-C or SIGTERM without losing what was done."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from lelp_jax.core.errors import Interrupted


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
