"""Data sets of texts by their name in TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from lelp_jax.core.constraints import AT_LEAST_ONE
from lelp_jax.data import labels
from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import labelling
from lelp_jax.data.sources.tfds_base import Graded, TfdsSource

# Only sets whose description does not say which column is which.
_KNOWN = {
    # Go et al., Twitter Sentiment Classification using Distant Supervision, 2009. The training rows
    # hold 0 and 4 alone; 2, neutral, is in a few test rows.
    "sentiment140": Graded("text", "polarity", {0: "negative", 4: "positive"}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tfds(TfdsSource):
    """A data set of texts.

    Attributes:
        text: Name of the column of texts; "" takes the only one.
        class_map: The class that each label becomes, in label order, as (0, 1, 0, 1), or entries
            "LABEL=CLASS". ("parity",) makes two classes, even and odd label numbers. Empty keeps
            the labels. Where there is no fine-label column, the label from before is the fine
            label.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
        max_length: How many tokens of a text are seen at most.
    """

    text: str = ""
    class_map: tuple[Any, ...] = ()
    unlabelled: str = labels.AUTO
    max_length: Annotated[int, AT_LEAST_ONE] = 128

    def __post_init__(self) -> None:
        columns = {"text": self.text, "label": self.label, "fine_label": self.fine_label}
        labelling.refuse_same_columns(columns)
        super().__post_init__()

    def parts(self) -> Parts:
        """Reads the data set.

        Raises:
            UserError: It cannot be read, or its columns or splits are not as the settings say.
        """
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        import pyarrow as pa

        from lelp_jax.data.reading import text_column

        reader = self.open({"text": self.text}, _KNOWN, self.unlabelled)
        splits = {}
        for split, columns in self.read_splits(reader).items():
            content = pa.array(columns.inputs, pa.large_binary())
            texts = text_column.read(content, reader.columns["text"], columns.place)
            splits[split] = dataclasses.replace(columns, inputs=texts)
        return labelling.make_parts(
            splits,
            max_length=self.max_length,
            label_names=reader.class_names("label"),
            fine_names=reader.class_names("fine_label"),
            class_map=self.class_map,
        )
