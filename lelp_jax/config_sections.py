"""Sections that config files share."""

from __future__ import annotations

from ml_collections import ConfigDict


def training(steps: int, batch_size: int) -> ConfigDict:
    """Returns the section `train` of a teacher or of students, with all its keys.

    Args:
        steps: Number of updates.
        batch_size: Examples per update.
    """
    config = ConfigDict()
    config.steps = steps
    config.batch_size = batch_size
    config.class_weights = ()  # (): equal; ("balanced",): by inverse share; or one per class
    config.optimizer = ConfigDict(
        {"schedule": "cosine", "warmup_fraction": 0.0, "clip_norm": 0.0}  # clip_norm 0: none
    )
    return config
