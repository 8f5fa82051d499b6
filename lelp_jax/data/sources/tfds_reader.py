"""Reads the columns of a data set that TensorFlow Datasets has prepared."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.data import labels
from lelp_jax.data.dataset import UNLABELLED
from lelp_jax.data.sources import labelling, tfds_prepared

_LOG = logging.getLogger(__name__)
_CHUNK = 65536


def find_columns(builder: Any, named: Mapping[str, str]) -> dict[str, str]:
    """Finds the column of the inputs, of the labels and, "" for none, of the fine labels.

    Args:
        builder: The data set.
        named: The columns that are named for "text" or "image", "label" and "fine_label", "" for
            none.

    Raises:
        UserError: There is no such column, it cannot be used, or it is not clear which is meant.
    """
    import tensorflow_datasets as tfds

    # The file in which TFDS keeps them has no order.
    features = dict(sorted(builder.info.features.items()))
    kinds = {
        "text": tfds.features.Text,
        "image": tfds.features.Image,
        "label": tfds.features.ClassLabel,
    }
    # What is named first: it is not what the others mean.
    chosen = {key: given for key, given in named.items() if given}
    for key, given in chosen.items():
        if given not in features:
            raise make_unknown_name_error(f"column of {builder.info.full_name}", given, features)
        kind = features[given]
        if key == "image":
            right = isinstance(kind, tfds.features.Image)
        else:
            whole = key != "text" and np.issubdtype(kind.np_dtype, np.integer)
            right = kind.shape == () and (whole or isinstance(kind, tfds.features.Text))
        if not right:
            raise UserError(
                f"{builder.info.full_name}, column {given}: it holds {kind}, no {key}; name "
                f"another with --config.data.{key}=NAME: {', '.join(features)}"
            )
    for key in named:
        if key in chosen or key == "fine_label":
            continue
        others = {name: kind for name, kind in features.items() if name not in chosen.values()}
        found = [name for name, kind in others.items() if isinstance(kind, kinds[key])]
        if len(found) != 1:
            what = "classes" if key == "label" else f"{key}s"
            problem = f"several columns of {what}" if found else f"no column of {what}"
            raise UserError(
                f"{builder.info.full_name} has {problem}; name one with "
                f"--config.data.{key}=NAME: {', '.join(found or others)}"
            )
        chosen[key] = found[0]
    return {"fine_label": "", **chosen}


class Reader:
    """Reads splits of a prepared data set.

    Attributes:
        name: The data set's name and version.
        names: Names of its splits.
        columns: Its columns of "text" or "image", "label" and "fine_label", "" for none.
    """

    def __init__(
        self, builder: Any, columns: Mapping[str, str], grades: Mapping[int, str], mark: str
    ):
        """Prepares for reading.

        Args:
            builder: The data set.
            columns: Its columns of "text" or "image", "label" and "fine_label".
            grades: The labels that are used, in class order; empty uses all as they are.
            mark: The label of rows that have none.
        """
        self.name = builder.info.full_name
        self.names = tuple(builder.info.splits)
        self._builder = builder
        self.columns, self._grades, self._mark = columns, grades, mark
        self._input = "image" if "image" in columns else "text"

    def class_names(self, key: str) -> tuple[str, ...]:
        """Lists the names of the numbers in the column of "label" or "fine_label"."""
        import tensorflow_datasets as tfds

        if key == "label" and self._grades:
            return tuple(self._grades.values())
        column = self.columns[key]
        feature = self._builder.info.features[column] if column else None
        return tuple(feature.names) if isinstance(feature, tfds.features.ClassLabel) else ()

    @property
    def files(self) -> list[Path]:
        """Files that hold the data set."""
        return sorted(path for path in Path(self._builder.data_path).iterdir() if path.is_file())

    def read(self, split: str) -> labelling.LabelledInputs:
        """Reads the columns of a split; inputs are as they are stored, [rows] objects, bytes.

        Raises:
            UserError: There is no such split, or a value cannot be used.
        """
        name = self.name
        if split not in self.names:
            raise make_unknown_name_error(f"split of {name}", split, self.names)
        stored = self._records(split)
        values = stored["label"]
        kept = np.arange(len(values))
        if self._grades:
            used = np.isin(values, [*self._grades, UNLABELLED])
            if not used.all():
                _LOG.info(
                    "%s %s: %d of %d rows are dropped, whose %s is %s",
                    name,
                    split,
                    (~used).sum(),
                    len(used),
                    self.columns["label"],
                    ", ".join(map(str, np.unique(values[~used]))),
                )
            kept, values = np.flatnonzero(used), values[used]
            numbers = {grade: number for number, grade in enumerate(self._grades)}
            numbers[UNLABELLED] = UNLABELLED
            values = np.array([numbers[value] for value in values.tolist()], np.int64)

        def place(row: int) -> str:
            return f"{name} {split} row {kept[row]}"

        if not len(kept):
            raise UserError(f"{name}: the split {split!r} has no rows; name another")
        fine_labels = None
        if "fine_label" in stored:
            column = self.columns["fine_label"]
            fine_labels = labels.read(stored["fine_label"][kept], column, place, self._mark)
        return labelling.LabelledInputs(
            inputs=stored[self._input][kept],
            labels=labels.read(values, self.columns["label"], place, self._mark),
            fine_labels=fine_labels,
            place=place,
        )

    def _records(self, split: str) -> dict[str, np.ndarray]:
        """Reads the columns as they are stored: whole numbers, or objects that are bytes."""
        from tensorflow_datasets.core.decode import DeserializeMethod
        from tensorflow_datasets.proto import tf_example_pb2

        features = self._builder.info.features
        wanted = {
            # Encoded images are bytes, too, though their feature is of type uint8.
            key: (
                column,
                key != self._input and np.issubdtype(features[column].np_dtype, np.integer),
            )
            for key, column in self.columns.items()
            if column
        }
        stored: dict[str, list[Any]] = {key: [] for key in wanted}
        # Decoding in TFDS takes eight times as long: a minute and a half per million texts.
        try:
            source = self._builder.as_data_source(
                split, deserialize_method=DeserializeMethod.RAW_BYTES
            )
            for start in range(0, len(source), _CHUNK):
                chunk = list(range(start, min(start + _CHUNK, len(source))))
                for record in source.__getitems__(chunk):
                    row = tf_example_pb2.Example.FromString(record).features.feature
                    for key, (column, whole) in wanted.items():
                        value = row[column].int64_list if whole else row[column].bytes_list
                        stored[key].append(value.value[0])
        except Exception as error:
            reason = tfds_prepared.shorten_error(error)
            raise UserError(
                f"{self._builder.data_path}: the split {split!r} cannot be read: {reason}; "
                "remove the folder and prepare the data set again"
            ) from error
        return {
            key: np.array(values, np.int64 if wanted[key][1] else object)
            for key, values in stored.items()
        }
