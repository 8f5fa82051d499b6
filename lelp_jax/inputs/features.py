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
from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import Preprocessing
from lelp_jax.inputs.base import Inputs

_FILE = "preprocessing.safetensors"


@dataclasses.dataclass(frozen=True)
class FeatureEncoding:
    """Applies a preprocessing.

    Attributes:
        preprocessing: The affine map.
    """

    kind: ClassVar[str] = "features"

    preprocessing: Preprocessing

    def __call__(self, raw: Any) -> np.ndarray:
        """Computes model inputs, float32, of the raw features' shape."""
        return self.preprocessing(np.asarray(raw, np.float32))

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Writes shift and scale."""
        from safetensors.numpy import save as to_bytes

        arrays = {
            "shift": np.ascontiguousarray(self.preprocessing.shift),
            "scale": np.ascontiguousarray(self.preprocessing.scale),
        }
        files.write_atomic(folder / _FILE, to_bytes(arrays))
        return {"columns": self.preprocessing.columns}

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> FeatureEncoding:
        """Reads what `save` wrote."""
        from safetensors.numpy import load_file

        arrays = load_file(folder / _FILE)
        return cls(Preprocessing(arrays["shift"], arrays["scale"], tuple(facts["columns"])))


@dataclasses.dataclass(frozen=True)
class Features:
    """The numbers of each row."""

    of_tokens: ClassVar[bool] = False

    def check(self, dataset: Dataset) -> None:
        """Checks that the rows are numbers.

        Raises:
            UserError: The rows are texts.
        """
        if dataset.of_texts:
            raise UserError(
                "inputs 'features' are numbers, but the data are texts; use 'tokens', 'words' or "
                "'embeddings'"
            )

    def ensure(self, root: Path, dataset: Dataset, session: Session) -> Inputs:
        """Takes the inputs that the data set holds already.

        Args:
            root: Not used: they are made when the data are read.
            dataset: The data.
            session: Not used.
        """
        del root, session
        assert dataset.preprocessing is not None
        return Inputs(dataset.inputs, dataset.digest, FeatureEncoding(dataset.preprocessing))
