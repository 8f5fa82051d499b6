"""Keys of `config.data` of data sets on the Hugging Face hub, and how their files are opened."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from lelp_jax.core.constraints import NON_NEGATIVE, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import hub_files, labelling
from lelp_jax.data.sources.labelling import LabelledInputs

if TYPE_CHECKING:
    from lelp_jax.data.reading.parquet_rows import ParquetRows


@dataclasses.dataclass(frozen=True, kw_only=True)
class HubSource:
    """What sources of data sets on the hub have in common.

    The files are downloaded once, into the cache of `huggingface_hub`.

    Attributes:
        name: Name of the data set ("fancyzhx/amazon_polarity").
        subset: The folder of its files ("en"); "" takes the only one.
        revision: Branch, tag or commit. "refs/convert/parquet" is where the hub keeps Parquet files
            of data sets that are written otherwise.
        label: Name of the label column.
        fine_label: Name of the fine-label column; "" when there is none.
        train: The split of training rows.
        validation: The split of validation rows; "" splits them off the training rows.
        test: The split of test rows; "" splits them off the training rows.
        train_rows: How many of the training rows are used, drawn without replacement, always the
            same; 0 uses all.
    """

    name: Annotated[str, NonEmpty('a data set of the hub, such as "fancyzhx/amazon_polarity"')]
    subset: str = ""
    revision: Annotated[str, NonEmpty("a branch, tag or commit, usually 'main'")] = "main"
    label: Annotated[str, NonEmpty("the name of the label column")] = "label"
    fine_label: str = ""
    train: Annotated[str, NonEmpty("the split of training rows, usually 'train'")] = "train"
    validation: str = ""
    test: str = "test"
    train_rows: Annotated[int, NON_NEGATIVE] = 0

    def __post_init__(self) -> None:
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        labelling.refuse_same(splits)

    def open_splits(self, inputs: Mapping[str, str]) -> dict[str, ParquetRows]:
        """Opens the files of each split, and downloads those that are not in the cache.

        Args:
            inputs: The column of inputs by its key.

        Raises:
            UserError: The data set is not available, or its files do not fit the settings.
        """
        # Imported here, so that Arrow is loaded only for the sources that read with it.
        from lelp_jax.data.reading.parquet_rows import ParquetRows

        names = {"train": self.train, "validation": self.validation, "test": self.test}
        columns = {**inputs, "label": self.label, "fine_label": self.fine_label}
        wanted = {split: name for split, name in names.items() if name}
        files = hub_files.find(self.name, self.revision, self.subset, wanted)

        def name_file(path: Path) -> str:
            return f"{self.name} {path.name}"

        opened = {
            split: ParquetRows(paths, columns, name_file, f"remove {paths[0].parent}, start again")
            for split, paths in files.items()
        }
        opened["train"].kept = self._draw(len(opened["train"].kept))
        return opened

    def read_split(self, rows: ParquetRows, inputs: np.ndarray, mark: str) -> LabelledInputs:
        """Reads the labels beside the inputs of a split.

        Args:
            rows: The split.
            inputs: [rows] inputs.
            mark: The label of rows that have none.

        Raises:
            UserError: They are no labels.
        """
        columns = {"label": self.label, "fine_label": self.fine_label}
        return labelling.read_columns(rows, inputs, columns, mark)

    def make_parts(
        self,
        opened: Mapping[str, ParquetRows],
        splits: Mapping[str, LabelledInputs],
        class_map: Sequence[object],
        max_length: int = 0,
    ) -> Parts:
        """Makes the rows of all splits, with the names that the files give to labels.

        Args:
            opened: The files of each split.
            splits: What was read from them.
            class_map: How labels are merged into classes, or empty.
            max_length: How many tokens of a text are seen at most; 0 for images.

        Raises:
            UserError: Labels cannot be used, or those of the test rows are hidden.
        """
        if "test" in splits and splits["test"].labels.is_empty:
            raise UserError(
                f"{self.name} hides the labels of {self.test!r}: no row has one; "
                "name another split with --config.data.test=NAME, or split test rows off the "
                "training rows with --config.data.test="
            )
        label_names, fine_names = labelling.read_label_names(
            opened["train"].schemas, splits["train"]
        )
        return labelling.make_parts(
            splits,
            max_length=max_length,
            label_names=label_names,
            fine_names=fine_names,
            class_map=class_map,
        )

    def _draw(self, total: int) -> np.ndarray:
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
