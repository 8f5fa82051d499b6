"""Your own texts with labels, from CSV, TSV, JSON lines or Parquet files."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from lelp_jax.core.constraints import AT_LEAST_ONE, DISTINCT, NUM_CLASSES, NonEmpty
from lelp_jax.data import identity, labels
from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import labelling

if TYPE_CHECKING:
    from lelp_jax.data.reading.table_file import TableFile

_LOG = logging.getLogger(__name__)
_FINE = "fine_label"


@dataclasses.dataclass(frozen=True)
class TextFiles:
    """Files with a column of texts and one of labels; the format follows from the file's ending.

    Labels are whole numbers or names ("spam"), which are numbered in sorted order. They, texts and
    the names of rows are read as they stand, so that "007" is not 7. Rows without a label leave it
    empty or hold -1.

    Attributes:
        train: Path of the training rows.
        validation: Path of the validation rows; "" splits them off the training rows.
        test: Path of the test rows; "" splits them off the training rows.
        text: Name of the column of texts.
        label: Name of the label column.
        fine_label: Name of the fine-label column; "" takes the column `fine_label` where all files
            have one.
        id: Name of the column that names the rows; "" when there is none.
        num_classes: Number of whole-number labels, before they are merged; 0 takes the largest
            + 1, or as many as there are names.
        label_names: One name per label, before they are merged. Empty takes what the training file
            provides: names as labels, or the names of numbers in a Parquet file's metadata, a
            JSON list under `label_names` (`fine_label_names` for the fine labels).
        class_map: The class that each label becomes, in label order, as (0, 1, 0, 1), or entries
            "LABEL=CLASS"; classes are numbers or names. ("parity",) makes two classes, even and odd
            label numbers. Empty keeps the labels. Where there is no fine-label column, the label
            from before is the fine label.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
        max_length: How many tokens of a text are seen at most.
    """

    train: Annotated[str, NonEmpty("a .csv, .tsv, .jsonl or .parquet file")]
    validation: str = ""
    test: str = ""
    text: Annotated[str, NonEmpty("the name of the column of texts")] = "text"
    label: Annotated[str, NonEmpty("the name of the label column")] = "label"
    fine_label: str = ""
    id: str = ""
    num_classes: Annotated[int, NUM_CLASSES] = 0
    label_names: Annotated[tuple[str, ...], DISTINCT] = ()
    class_map: tuple[Any, ...] = ()
    unlabelled: str = labels.AUTO
    max_length: Annotated[int, AT_LEAST_ONE] = 128

    def __post_init__(self) -> None:
        columns = {
            "text": self.text,
            "label": self.label,
            "fine_label": self.fine_label,
            "id": self.id,
        }
        labelling.refuse_same_columns(columns)

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: A file, column or value is missing or cannot be used.
        """
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        from lelp_jax.data.reading.table_file import TableFile

        paths = {"train": self.train, "validation": self.validation, "test": self.test}
        fine = self.fine_label or _FINE
        as_text = [name for name in (self.text, self.label, fine, self.id) if name]
        files = {split: TableFile(path, split, as_text) for split, path in paths.items() if path}
        fine = self.fine_label or self._fine_column(files)
        splits = {split: self._columns(file, fine) for split, file in files.items()}
        schemas = {str(file.path): file.table.schema for file in files.values()}
        label_names, fine_names = labelling.read_label_names(schemas, splits["train"])
        return labelling.make_parts(
            splits,
            max_length=self.max_length,
            num_classes=self.num_classes,
            label_names=self.label_names or label_names,
            fine_names=fine_names,
            class_map=self.class_map,
        )

    def _fine_column(self, files: Mapping[str, TableFile]) -> str:
        """Finds the name of a fine-label column that all files have, or ""."""
        if _FINE in (self.text, self.label, self.id):
            return ""
        without = [file for file in files.values() if _FINE not in file.table.column_names]
        if without and len(without) < len(files):
            _LOG.info("%s has no column %s: fine labels are not used", without[0].path, _FINE)
        return "" if without else _FINE

    def _columns(self, file: TableFile, fine: str) -> labelling.LabelledInputs:
        from lelp_jax.data.reading import text_column

        wanted = {"text": self.text, "label": self.label, "fine_label": fine, "id": self.id}
        for key, name in wanted.items():
            if name and name not in file.table.column_names and not file.looks_unseparated():
                others = [other for other in wanted.values() if other != name]
                raise text_column.make_missing_error(
                    str(file.path), name, file.table.schema, others, key
                )
        file.refuse_joined_rows(self.label)

        def read_labels(column: str) -> labels.LabelColumn:
            return labels.read(file.label_values(column), column, file.place, self.unlabelled)

        return labelling.LabelledInputs(
            inputs=text_column.read(file.column(self.text), self.text, file.place),
            labels=read_labels(self.label),
            fine_labels=read_labels(fine) if fine else None,
            place=file.place,
            ids=identity.read(file.label_values(self.id), self.id, file.place) if self.id else None,
        )
