"""Numbers as they are, after the preprocessing that the data source asks for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lelp_jax.core import files
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.columns import read_facts, write_facts
from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import Preprocessing
from lelp_jax.inputs.base import Inputs
from lelp_jax.models.outputs import InputKind

_FILE = "preprocessing.safetensors"


@dataclasses.dataclass(frozen=True)
class FeatureEncoding:
    """Applies a preprocessing to rows, which are checked first.

    Attributes:
        preprocessing: The map from raw features to inputs.
    """

    kind: ClassVar[str] = "features"

    preprocessing: Preprocessing

    def __call__(self, raw: Any) -> np.ndarray:
        """Computes model inputs, float32.

        Args:
            raw: Rows as `class_logits` of an exported student takes them.

        Raises:
            UserError: The rows do not have the features of the training rows, or a value is not
                finite.
        """
        kinds = self.preprocessing.kinds
        if kinds:
            # Imported here, so that Arrow is loaded for tables only.
            from lelp_jax.data.reading import frames

            values = frames.read_rows(raw, kinds)
        else:
            values = _read_array(raw)
        inputs = self.preprocessing(values)
        finite = np.isfinite(inputs)
        if not finite.all():
            row, feature = np.argwhere(~finite.reshape(len(inputs), -1))[0].tolist()
            columns = self.preprocessing.columns
            place = f"column {columns[feature]}" if columns else f"feature {feature}"
            raise UserError(
                f"row {row}, {place}: the value is not finite, or beyond float32 when it is "
                "scaled; give another one"
            )
        return inputs

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Writes shift and scale; returns what is learnt of the columns."""
        from safetensors.numpy import save as to_bytes

        arrays = {
            "shift": np.ascontiguousarray(self.preprocessing.shift),
            "scale": np.ascontiguousarray(self.preprocessing.scale),
        }
        files.write_atomic(folder / _FILE, to_bytes(arrays))
        return {
            "columns": self.preprocessing.columns,
            "table": write_facts(self.preprocessing.table),
            "shape": self.preprocessing.shape,
        }

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> FeatureEncoding:
        """Reads what `save` wrote."""
        from safetensors.numpy import load_file

        arrays = load_file(folder / _FILE)
        return cls(
            Preprocessing(
                arrays["shift"],
                arrays["scale"],
                tuple(facts["columns"]),
                read_facts(facts["table"]),
                tuple(facts["shape"]),
            )
        )


def _read_array(raw: Any) -> np.ndarray:
    """Reads rows of features that have no names."""
    try:
        values = np.asarray(raw)
    except ValueError as error:
        raise UserError(f"the rows are no array of numbers: {error}") from error
    if values.dtype.kind not in "fiub" or not values.ndim:
        raise UserError(
            f"the rows are {type(raw).__name__} of the type {values.dtype} and the shape "
            f"{values.shape}; give an array of numbers, [rows, features...]"
        )
    return values


@dataclasses.dataclass(frozen=True)
class Features:
    """The numbers of each row."""

    kind: ClassVar[InputKind] = "numbers"

    def check(self, dataset: Dataset) -> None:
        """Checks that the rows are numbers.

        Raises:
            UserError: The rows are texts or images.
        """
        if dataset.of_texts:
            raise UserError(
                "inputs 'features' are numbers, but the data are texts; use 'tokens', 'words' or "
                "'embeddings'"
            )
        if dataset.of_images:
            raise UserError("inputs 'features' are numbers, but the data are images; use 'images'")

    def ensure(self, root: Path, dataset: Dataset, session: Session) -> Inputs:
        """Takes the inputs that the data set holds already.

        Args:
            root: Not used: they are made when the data are read.
            dataset: The data.
            session: Not used.
        """
        del root, session
        assert dataset.preprocessing is not None
        return Inputs(
            dataset.inputs,
            dataset.digest,
            FeatureEncoding(dataset.preprocessing),
            notes=dataset.preprocessing.describe(),
        )
