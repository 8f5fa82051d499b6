"""Data sets of texts by their name in TensorFlow Datasets, read without TensorFlow."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from lelp_jax.core.constraints import AT_LEAST_ONE, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data import labels
from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import labelling

if TYPE_CHECKING:
    from lelp_jax.data.sources import tfds_reader

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Graded:
    """A column of grades that the data set does not describe as a column of classes.

    Attributes:
        text: The column of texts.
        label: The column of grades.
        names: Class name of each grade that is used, in class order; rows of others are dropped.
    """

    text: str
    label: str
    names: Mapping[int, str]


# Only sets whose description does not say which column is which.
_KNOWN = {
    # Go et al., Twitter Sentiment Classification using Distant Supervision, 2009. The training rows
    # hold 0 and 4 alone; 2, neutral, is in a few test rows.
    "sentiment140": _Graded("text", "polarity", {0: "negative", 4: "positive"}),
}


@dataclasses.dataclass(frozen=True)
class Tfds:
    """A data set prepared by TensorFlow Datasets in the format array_record.

    A data set that is not prepared is downloaded and prepared where TensorFlow is installed.

    Attributes:
        name: Name of the data set ("glue/sst2", "imdb_reviews").
        data_dir: Where prepared data sets are stored; "" is TFDS's default folder.
        text: Name of the column of texts; "" takes the only one.
        label: Name of the label column; "" takes the only column of classes.
        fine_label: Name of the fine-label column; "" when there is none.
        train: The split of training rows.
        validation: The split of validation rows; "" takes "validation" where there is one, else
            splits them off the training rows.
        test: The split of test rows; "" takes "test" where it has labels. Where it has none, as in
            GLUE, "validation" is the test split, and validation rows are split off the training
            rows.
        class_map: The class that each label becomes, in label order, as (0, 1, 0, 1), or entries
            "LABEL=CLASS". Empty keeps the labels. Where there is no fine-label column, the label
            from before is the fine label.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
        max_length: How many tokens of a text are seen at most.
    """

    name: Annotated[str, NonEmpty('a data set of TFDS, such as "glue/sst2"')]
    data_dir: str = ""
    text: str = ""
    label: str = ""
    fine_label: str = ""
    train: str = "train"
    validation: str = ""
    test: str = ""
    class_map: tuple[Any, ...] = ()
    unlabelled: str = labels.AUTO
    max_length: Annotated[int, AT_LEAST_ONE] = 128

    def __post_init__(self) -> None:
        columns = {"text": self.text, "label": self.label, "fine_label": self.fine_label}
        labelling.refuse_same_columns(columns)
        labelling.refuse_same(
            {"train": self.train, "validation": self.validation, "test": self.test}
        )

    def parts(self) -> Parts:
        """Reads the data set.

        Raises:
            UserError: It cannot be read, or its columns or splits are not as the settings say.
        """
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        from lelp_jax.data.sources import tfds_prepared, tfds_reader

        builder = tfds_prepared.find_builder(self.name, self.data_dir)
        _LOG.info("TFDS data set %s in %s", builder.info.full_name, builder.data_path)
        known = _KNOWN.get(builder.name)
        named = {"text": self.text, "label": self.label, "fine_label": self.fine_label}
        if known is not None:
            named["text"] = named["text"] or known.text
            named["label"] = named["label"] or known.label
        columns = tfds_reader.find_columns(builder, named)
        grades = known.names if known is not None and columns["label"] == known.label else {}
        reader = tfds_reader.Reader(builder, columns, grades, self.unlabelled)
        splits = self._splits(reader)
        return labelling.make_parts(
            splits,
            max_length=self.max_length,
            label_names=tuple(grades.values()) or reader.class_names("label"),
            fine_names=reader.class_names("fine_label"),
            class_map=self.class_map,
        )

    def _splits(self, reader: tfds_reader.Reader) -> dict[str, labelling.LabelledInputs]:
        """Reads the data set's splits, keyed by "train", "validation" and "test"."""
        named = (self.train, self.validation, self.test)
        free = [name for name in ("validation", "test") if name in reader.names]
        free = [name for name in free if name not in named]
        splits = {"train": reader.read(self.train)}
        if self.test:
            splits["test"] = reader.read(self.test)
            if _hidden(splits["test"]):
                raise UserError(
                    f"{reader.name} hides the labels of {self.test!r}: no row has one; "
                    "name another split with --config.data.test=NAME"
                )
        elif "test" in free:
            test = reader.read("test")
            if not _hidden(test):
                splits["test"] = test
            elif "validation" in free:
                free.remove("validation")
                splits["test"] = reader.read("validation")
            if _hidden(test):
                _LOG.info(
                    "%s hides the labels of its test split; the test rows are %s",
                    reader.name,
                    "those of validation" if "test" in splits else "split off the training rows",
                )
        validation = self.validation or ("validation" if "validation" in free else "")
        if validation:
            splits["validation"] = reader.read(validation)
        return splits


def _hidden(columns: labelling.LabelledInputs) -> bool:
    return columns.labels.is_empty
