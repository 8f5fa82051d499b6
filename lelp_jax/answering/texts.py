"""Reads the texts to answer, with what the files say of their rows."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from lelp_jax.answering.flags import AnswerArguments
from lelp_jax.core.errors import UserError
from lelp_jax.data import identity, labels
from lelp_jax.data.reading import class_names, text_column
from lelp_jax.data.reading.table_file import TableFile

_LABEL = "label"


@dataclasses.dataclass(frozen=True)
class TextRows:
    """Rows of all files, one file after the other: the order of a run's data.

    Attributes:
        texts: [rows] objects, texts.
        files: The files.
        starts: First row of each file.
        ids: Name of each row, [rows] texts, or None.
        labels: Class of each row, [rows] int64, -1 where unknown, or None without a label column.
        class_names: One name per class; empty without a label column.
        named: Whether these are names, not numbers.
    """

    texts: np.ndarray
    files: Sequence[TableFile]
    starts: Sequence[int]
    ids: np.ndarray | None
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    named: bool

    def __len__(self) -> int:
        return len(self.texts)

    def place(self, row: int) -> str:
        """Names a row for messages ("train.csv line 7")."""
        number = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.files[number].place(row - self.starts[number])

    @property
    def first_file(self) -> slice:
        """The rows of the first file."""
        return slice(0, self.starts[1] if len(self.starts) > 1 else len(self))


def read(arguments: AnswerArguments) -> TextRows:
    """Reads the files that `--data` names.

    Raises:
        UserError: A file, column or value is missing or cannot be used.
    """
    try:
        return _read(arguments)
    except UserError as error:
        # The readers name keys of a config. This command has flags of the same names, except that
        # --data names all files.
        message = str(error).replace("config.data.train", "--data")
        raise UserError(re.sub(r"(--)?config\.data\.", "--", message)) from error


def _read(arguments: AnswerArguments) -> TextRows:
    as_text = [arguments.text, arguments.label or _LABEL, *([arguments.id] if arguments.id else [])]
    # Which split a file holds makes no difference to how it is read.
    files = [TableFile(path, "train", as_text) for path in arguments.data]
    label = arguments.label or _find_label_column(files, (arguments.text, arguments.id))
    wanted = {"text": arguments.text, "label": label, "id": arguments.id}
    for file in files:
        for key, name in wanted.items():
            if name and name not in file.table.column_names and not file.looks_unseparated():
                others = [other for other in wanted.values() if other != name]
                raise text_column.make_missing_error(
                    str(file.path), name, file.table.schema, others, key
                )
        file.refuse_joined_rows(label)
    pieces = [text_column.read(f.column(arguments.text), arguments.text, f.place) for f in files]
    found = TextRows(
        texts=np.concatenate(pieces),
        files=files,
        starts=np.cumsum([0, *(file.table.num_rows for file in files[:-1])]).tolist(),
        ids=None,
        labels=None,
        class_names=(),
        named=False,
    )
    if arguments.id:
        ids = [identity.read(f.label_values(arguments.id), arguments.id, f.place) for f in files]
        found = dataclasses.replace(found, ids=np.concatenate(ids))
        assert found.ids is not None
        identity.refuse_twice(found.ids, arguments.id, found.place)
    return _add_labels(found, label, arguments.unlabelled) if label else found


def _find_label_column(files: Sequence[TableFile], others: Sequence[str]) -> str:
    """Finds the name of the label column that all files have by default, or ""."""
    there = all(_LABEL in file.table.column_names for file in files)
    return _LABEL if there and _LABEL not in others else ""


def _add_labels(found: TextRows, name: str, mark: str) -> TextRows:
    """Adds the classes of all rows; the labels of the first file determine the classes."""
    columns = [labels.read(f.label_values(name), name, f.place, mark) for f in found.files]
    if all(column.is_empty for column in columns):
        return found
    schemas = {str(file.path): file.table.schema for file in found.files}
    names = class_names.read_common_names(schemas, columns[0])
    coding = labels.fit_coding(columns[0], names=names)
    return dataclasses.replace(
        found,
        labels=np.concatenate([coding.classes(column) for column in columns]),
        class_names=coding.names,
        named=coding.by_name or bool(names),
    )
