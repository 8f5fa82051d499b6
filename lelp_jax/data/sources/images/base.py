"""Keys of `config.data` that all sources of images have."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from lelp_jax.data import labels


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSource:
    """What all sources of images have in common.

    Attributes:
        channels: 1 for grey images, 3 for coloured ones; those of the other kind are converted. 0
            takes 1 where all images are grey, else 3.
        class_map: The class that each label becomes, in label order, as (0, 1, 0, 1), or entries
            "LABEL=CLASS". ("parity",) makes two classes, even and odd label numbers. Empty keeps
            the labels. Where there are no fine labels, the label from before is the fine label.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
    """

    channels: Literal[0, 1, 3] = 0
    class_map: tuple[Any, ...] = ()
    unlabelled: str = labels.AUTO
