"""Keys of `config.data` of data sets of TensorFlow Datasets, and the choice of their splits."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from lelp_jax.core.constraints import NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources import labelling

if TYPE_CHECKING:
    from lelp_jax.data.sources import tfds_reader

_LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsSource:
    """What sources of data sets prepared in the format array_record have in common.

    A data set that is not prepared is downloaded and prepared where TensorFlow is installed.

    Attributes:
        name: Name of the data set ("glue/sst2", "cifar10").
        data_dir: Where prepared data sets are stored; "" is TFDS's default folder.
        label: Name of the label column; "" takes the only column of classes.
        fine_label: Name of the fine-label column; "" when there is none.
        train: The split of training rows.
        validation: The split of validation rows; "" takes "validation" where there is one, else
            splits them off the training rows.
        test: The split of test rows; "" takes "test" where it has labels. Where it has none, as in
            GLUE, "validation" is the test split, and validation rows are split off the training
            rows.
    """

    name: Annotated[str, NonEmpty('a data set of TFDS, such as "glue/sst2" or "cifar10"')]
    data_dir: str = ""
    label: str = ""
    fine_label: str = ""
    train: str = "train"
    validation: str = ""
    test: str = ""

    def __post_init__(self) -> None:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        labelling.refuse_same(splits)

    def open(
        self, inputs: Mapping[str, str], known: Mapping[str, Graded], mark: str
    ) -> tfds_reader.Reader:
        """Opens the data set.

        Args:
            inputs: The column of inputs by its key, "text" or "image"; "" takes the only one.
            known: What is known of the columns of data sets that do not say it, by their name.
            mark: The label of rows that have none.

        Raises:
            UserError: It cannot be read, or its columns are not as the settings say.
        """
        # Imported here, as TFDS takes a second to import.
        from lelp_jax.data.sources import tfds_prepared, tfds_reader

        builder = tfds_prepared.find_builder(self.name, self.data_dir)
        _LOG.info("TFDS data set %s in %s", builder.info.full_name, builder.data_path)
        graded = known.get(builder.name)
        named = {**inputs, "label": self.label, "fine_label": self.fine_label}
        if graded is not None:
            named["text"] = named["text"] or graded.text
            named["label"] = named["label"] or graded.label
        columns = tfds_reader.find_columns(builder, named)
        grades = graded.names if graded is not None and columns["label"] == graded.label else {}
        return tfds_reader.Reader(builder, columns, grades, mark)

    def read_splits(self, reader: tfds_reader.Reader) -> dict[str, labelling.LabelledInputs]:
        """Reads the splits, keyed by "train", "validation" and "test"; inputs are bytes.

        Args:
            reader: The data set.

        Raises:
            UserError: There is no such split, or it cannot be used.
        """
        named = (self.train, self.validation, self.test)
        free = [name for name in ("validation", "test") if name in reader.names]
        free = [name for name in free if name not in named]
        splits = {"train": reader.read(self.train)}
        if self.test:
            splits["test"] = reader.read(self.test)
            if splits["test"].labels.is_empty:
                raise UserError(
                    f"{reader.name} hides the labels of {self.test!r}: no row has one; "
                    "name another split with --config.data.test=NAME"
                )
        elif "test" in free:
            test = reader.read("test")
            if not test.labels.is_empty:
                splits["test"] = test
            elif "validation" in free:
                free.remove("validation")
                splits["test"] = reader.read("validation")
            if test.labels.is_empty:
                _LOG.info(
                    "%s hides the labels of its test split; the test rows are %s",
                    reader.name,
                    "those of validation" if "test" in splits else "split off the training rows",
                )
        validation = self.validation or ("validation" if "validation" in free else "")
        if validation:
            splits["validation"] = reader.read(validation)
        return splits


@dataclasses.dataclass(frozen=True)
class Graded:
    """A column of grades that a data set does not describe as a column of classes.

    Attributes:
        text: The column of texts.
        label: The column of grades.
        names: Class name of each grade that is used, in class order; rows of others are dropped.
    """

    text: str
    label: str
    names: Mapping[int, str]
