"""Your own table of data: named numeric columns from CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lelp_jax.core.constraints import DISTINCT, NUM_CLASSES, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data import identity, labels
from lelp_jax.data.dataset import Parts, Rows
from lelp_jax.data.preprocessing import standardization

if TYPE_CHECKING:
    from lelp_jax.data.reading.table_file import TableFile

_LOG = logging.getLogger(__name__)
_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class NumericTable:
    """Files whose columns have names; the format follows from the file's ending.

    Labels are whole numbers or names ("spam"), which are numbered in sorted order. They and the
    names of rows are read as they stand, so that "007" is not 7. Rows without a label leave it
    empty or hold -1. Features are standardised with the training rows' mean and deviation.

    Attributes:
        train: Path of the training rows.
        validation: Path of the validation rows; "" splits them off the training rows.
        test: Path of the test rows; "" splits them off the training rows.
        columns: Names of the feature columns; empty takes every numeric column but the labels.
        label: Name of the label column.
        fine_label: Name of the fine-label column; "" when there is none.
        id: Name of the column that names the rows; "" when there is none.
        num_classes: Number of classes of whole-number labels; 0 takes the largest + 1.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
    """

    train: Annotated[str, NonEmpty("a .csv, .tsv, .jsonl or .parquet file")]
    validation: str = ""
    test: str = ""
    columns: Annotated[tuple[str, ...], DISTINCT] = ()
    label: Annotated[str, NonEmpty("the name of the label column")] = "label"
    fine_label: str = ""
    id: str = ""
    num_classes: Annotated[int, NUM_CLASSES] = 0
    unlabelled: str = labels.AUTO

    def __post_init__(self) -> None:
        if self.fine_label == self.label:
            raise UserError(f"label and fine_label are both {self.label!r}; name two columns")
        if self.id and self.id in (self.label, self.fine_label):
            raise UserError(f"id is {self.id!r}, which is the label; name another column")
        for name in self.columns:
            if name in (self.label, self.fine_label, self.id):
                raise UserError(f"columns holds {name!r}, which is not a feature; leave it out")

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: A file, column or value is missing or cannot be used.
        """
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        from lelp_jax.data.reading.table_file import TableFile

        paths = {"train": self.train, "validation": self.validation, "test": self.test}
        as_text = [name for name in (self.label, self.fine_label, self.id) if name]
        files = {split: TableFile(path, split, as_text) for split, path in paths.items() if path}
        for file in files.values():
            file.refuse_joined_rows(self.label)
        coding = labels.fit_coding(self._labels(files["train"], self.label), self.num_classes)
        fine = None
        if self.fine_label:
            fine = labels.fit_coding(self._labels(files["train"], self.fine_label), fine=True)
        columns = self.columns or self._numeric_columns(files["train"])
        rows = {
            split: Rows(
                inputs=np.stack([file.numbers(column) for column in columns], axis=1),
                labels=coding.classes(self._labels(file, self.label)),
                fine_labels=fine.classes(self._labels(file, self.fine_label)) if fine else None,
                place=file.place,
                columns=columns,
                ids=_ids(file, self.id) if self.id else None,
            )
            for split, file in files.items()
        }
        return Parts.from_splits(
            rows,
            class_names=coding.names,
            fine_names=fine.names if fine else (),
            preprocess=functools.partial(standardization, columns=columns, same_unit=False),
        )

    def _labels(self, file: TableFile, column: str) -> labels.Column:
        return labels.read(file.label_values(column), column, file.place, self.unlabelled)

    def _numeric_columns(self, train: TableFile) -> tuple[str, ...]:
        columns, others = train.numeric_columns({self.label, self.fine_label, self.id})
        if not columns:
            raise UserError(
                f"{train.path}: no numeric feature column besides {self.label!r}; "
                "name the feature columns in config.data.columns"
            )
        if others:
            names = ", ".join(others[:_SHOWN]) + (", ..." if len(others) > _SHOWN else "")
            _LOG.info("%s: columns without numbers are not used: %s", train.path, names)
        return columns


def _ids(file: TableFile, column: str) -> np.ndarray:
    return identity.read(file.label_values(column), column, file.place)
