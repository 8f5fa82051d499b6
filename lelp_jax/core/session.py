"""The session of a run: progress, interrupts, log of losses and checkpoint interval."""

from __future__ import annotations

import dataclasses

from lelp_jax.core.curves import CurveLog
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter


@dataclasses.dataclass(frozen=True)
class Session:
    """Passed to every function that may run for long.

    Attributes:
        reporter: Shows progress.
        interrupts: Tells whether the run was asked to stop.
        curves: The log of training losses.
        checkpoint_seconds: Time between checkpoints; 0 saves after every dispatch.
    """

    reporter: Reporter
    interrupts: Interrupts
    curves: CurveLog
    checkpoint_seconds: float
