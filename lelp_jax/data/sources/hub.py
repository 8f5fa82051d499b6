"""Data sets of texts on the Hugging Face hub, by their name."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from lelp_jax.core.constraints import AT_LEAST_ONE, NonEmpty
from lelp_jax.data import labels
from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import labelling
from lelp_jax.data.sources.hub_base import HubSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hub(HubSource):
    """A data set of texts, in Parquet files.

    Attributes:
        text: Name of the column of texts.
        class_map: The class that each label becomes, in label order, as (0, 1, 0, 1), or entries
            "LABEL=CLASS". ("parity",) makes two classes, even and odd label numbers. Empty keeps
            the labels. Where there is no fine-label column, the label from before is the fine
            label.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
        max_length: How many tokens of a text are seen at most.
    """

    text: Annotated[str, NonEmpty("the name of the column of texts")] = "text"
    class_map: tuple[Any, ...] = ()
    unlabelled: str = labels.AUTO
    max_length: Annotated[int, AT_LEAST_ONE] = 128

    def __post_init__(self) -> None:
        columns = {"text": self.text, "label": self.label, "fine_label": self.fine_label}
        labelling.refuse_same_columns(columns)
        super().__post_init__()

    def parts(self) -> Parts:
        """Reads the files, and downloads those that are not in the cache.

        Raises:
            UserError: The data set is not available, or its files do not fit the settings.
        """
        from lelp_jax.data.reading import text_column

        opened = self.open_splits({"text": self.text})
        splits = {}
        for split, rows in opened.items():
            texts = text_column.read(rows.read(self.text), self.text, rows.place)
            splits[split] = self.read_split(rows, texts, self.unlabelled)
        return self.make_parts(opened, splits, self.class_map, self.max_length)
