"""Parquet files of a data set on the Hugging Face hub, by its name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from lelp_jax.core.constraints import AT_LEAST_ONE, NON_NEGATIVE, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data import labels
from lelp_jax.data.dataset import Parts
from lelp_jax.data.reading import class_names
from lelp_jax.data.sources import hub_files, labelling

# Rows in memory beside those that are kept.
_BATCH = 65536


@dataclasses.dataclass(frozen=True)
class Hub:
    """A data set whose files are downloaded once, into the cache of `huggingface_hub`.

    Attributes:
        name: Name of the data set ("fancyzhx/amazon_polarity").
        subset: The folder of its files ("en"); "" takes the only one.
        revision: Branch, tag or commit. "refs/convert/parquet" is where the hub keeps Parquet files
            of data sets that are written otherwise.
        text: Name of the column of texts.
        label: Name of the label column.
        fine_label: Name of the fine-label column; "" when there is none.
        train: The split of training rows.
        validation: The split of validation rows; "" splits them off the training rows.
        test: The split of test rows; "" splits them off the training rows.
        train_rows: How many of the training rows are used, drawn without replacement, always the
            same; 0 uses all.
        class_map: The class that each label becomes, in label order, as (0, 1, 0, 1), or entries
            "LABEL=CLASS". Empty keeps the labels. Where there is no fine-label column, the label
            from before is the fine label.
        unlabelled: The label of rows that have none, besides an empty one, such as "?"; "" for no
            such mark. "auto" takes -1, and asks where -1 is as common as a class.
        max_length: How many tokens of a text are seen at most.
    """

    name: Annotated[str, NonEmpty('a data set of the hub, such as "fancyzhx/amazon_polarity"')]
    subset: str = ""
    revision: Annotated[str, NonEmpty("a branch, tag or commit, usually 'main'")] = "main"
    text: Annotated[str, NonEmpty("the name of the column of texts")] = "text"
    label: Annotated[str, NonEmpty("the name of the label column")] = "label"
    fine_label: str = ""
    train: Annotated[str, NonEmpty("the split of training rows, usually 'train'")] = "train"
    validation: str = ""
    test: str = "test"
    train_rows: Annotated[int, NON_NEGATIVE] = 0
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
        """Reads the files, and downloads those that are not in the cache.

        Raises:
            UserError: The data set is not available, or its files do not fit the settings.
        """
        names = {"train": self.train, "validation": self.validation, "test": self.test}
        wanted = {split: name for split, name in names.items() if name}
        files = hub_files.find(self.name, self.revision, self.subset, wanted)
        splits = {split: self._columns(split, paths) for split, paths in files.items()}
        test = splits.get("test")
        if test is not None and test.labels.is_empty:
            raise UserError(
                f"{self.name} hides the labels of {self.test!r}: no row has one; "
                "name another split with --config.data.test=NAME, or split test rows off the "
                "training rows with --config.data.test="
            )
        from pyarrow import parquet

        schema = parquet.read_schema(files["train"][0])
        label_names, fine_names = (
            class_names.read_names(schema, column) if of is not None and not of.by_name else ()
            for of, column in (
                (splits["train"].labels, self.label),
                (splits["train"].fine_labels, self.fine_label),
            )
        )
        return labelling.make_parts(
            splits,
            max_length=self.max_length,
            label_names=label_names,
            fine_names=fine_names,
            class_map=self.class_map,
        )

    def _columns(self, split: str, paths: Sequence[Path]) -> labelling.LabelledInputs:
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        import pyarrow as pa
        from pyarrow import parquet

        from lelp_jax.data.reading import table_file, text_column

        wanted = {"text": self.text, "label": self.label, "fine_label": self.fine_label}
        columns = [column for column in wanted.values() if column]
        try:
            opened = [parquet.ParquetFile(path) for path in paths]
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.name}: a file in {paths[0].parent} cannot be read as Parquet: {reason}; "
                "remove the folder and start again"
            ) from error
        for path, file in zip(paths, opened, strict=True):
            schema = file.schema_arrow
            for key, column in wanted.items():
                if column and column not in schema.names:
                    others = [other for other in columns if other != column]
                    where = f"{self.name} {path.name}"
                    raise text_column.make_missing_error(where, column, schema, others, key)
        counts = [file.metadata.num_rows for file in opened]
        starts = np.cumsum([0, *counts])
        kept = self._kept(int(starts[-1])) if split == "train" else np.arange(starts[-1])

        def place(row: int) -> str:
            number = int(np.searchsorted(starts, kept[row], side="right")) - 1
            return f"{self.name} {paths[number].name} row {kept[row] - starts[number]}"

        if not len(kept):
            raise UserError(f"{self.name}: {paths[0].name} has no rows; name another split")
        pieces = []
        for file, start in zip(opened, starts[:-1], strict=True):
            batches = []
            for batch in file.iter_batches(_BATCH, columns=columns):
                first, last = np.searchsorted(kept, (start, start + len(batch)))
                batches.append(batch.take(pa.array(kept[first:last] - start)))
                start += len(batch)
            pieces.append(pa.Table.from_batches(batches))
        table = pa.concat_tables(pieces, promote_options="permissive")

        def column_of_labels(column: str) -> labels.LabelColumn:
            values = table.column(column).combine_chunks()
            if pa.types.is_dictionary(values.type):
                values = values.dictionary_decode()
            raw = table_file.label_values(values, f"{self.name}, column {column}")
            return labels.read(raw, column, place, self.unlabelled)

        return labelling.LabelledInputs(
            inputs=text_column.read(table.column(self.text), self.text, place),
            labels=column_of_labels(self.label),
            fine_labels=column_of_labels(self.fine_label) if self.fine_label else None,
            place=place,
        )

    def _kept(self, total: int) -> np.ndarray:
        """Draws the training rows that are used, sorted."""
        if self.train_rows > total:
            raise UserError(
                f"config.data.train_rows is {self.train_rows}, but {self.name} has {total} rows in "
                f"{self.train!r}; use 0 for all of them"
            )
        if not self.train_rows:
            return np.arange(total)
        # The first of one permutation: a larger sample holds a smaller one.
        return np.sort(np.random.default_rng(0).permutation(total)[: self.train_rows])
