"""What everything that takes long is given of the run it belongs to."""

from __future__ import annotations

import dataclasses

from lelp_jax.core.curves import CurveLog
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter


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
