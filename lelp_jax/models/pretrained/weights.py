"""The tensors of a checkpoint, read one at a time."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.models.encoder.architecture import FAMILIES
from lelp_jax.models.pretrained.configuration import content
from lelp_jax.models.pretrained.fetching import INDEX, WEIGHTS
from lelp_jax.models.pretrained.names import Parameter

_FLOATS = (np.dtype(ml_dtypes.bfloat16), *(np.dtype(f"float{bits}") for bits in (16, 32, 64)))
# Every family has this one, and no head of another task does.
_WORDS = "embeddings.word_embeddings.weight"
_PREFIXES = ("", *(f"{family}." for family in FAMILIES))


class Weights:
    """A checkpoint's tensors; a context manager that keeps their files open.

    Args:
        folder: The checkpoint.
        place: Where it was named, for messages.

    Raises:
        UserError: The weights are missing or damaged.
    """

    def __init__(self, folder: Path, place: str) -> None:
        self._folder = folder
        self._place = place
        self._open = contextlib.ExitStack()
        self._files: dict[str, Any] = {}
        if (folder / INDEX).is_file():
            self._file_of = self._index()
        elif (folder / WEIGHTS).is_file():
            self._file_of = dict.fromkeys(self._file(WEIGHTS).keys(), WEIGHTS)
        else:
            raise UserError(
                f"{place}: {WEIGHTS} is missing in {folder}, and PyTorch's own files, such as "
                "pytorch_model.bin, are not read; with PyTorch, "
                f"`transformers.AutoModel.from_pretrained({str(folder)!r}).save_pretrained(NEW)` "
                "writes one into the folder NEW"
            )
        prefixes = [prefix for prefix in _PREFIXES if prefix + _WORDS in self._file_of]
        if not prefixes:
            raise UserError(
                f"{place}: the weights in {folder} have no tensor {_WORDS!r}, so they are of no "
                f"encoder of the families {', '.join(FAMILIES)}"
            )
        self._prefix = prefixes[0]

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def __contains__(self, tensor: str) -> bool:
        return self._stored_name(tensor) is not None

    def read(self, parameter: Parameter) -> np.ndarray:
        """Reads a parameter of the trunk, float32.

        Args:
            parameter: Which one.

        Raises:
            UserError: It is missing, damaged, of another shape, or not finite.
        """
        width = parameter.shape[-1] // len(parameter.tensors)
        shape = (*parameter.shape[:-1], width)
        parts = [
            self._part(tensor, shape[::-1] if parameter.transposed else shape)
            for tensor in parameter.tensors
        ]
        if parameter.transposed:
            parts = [part.T for part in parts]
        return np.ascontiguousarray(np.concatenate(parts, axis=-1) if parts[1:] else parts[0])

    def _part(self, tensor: str, wanted: tuple[int, ...]) -> np.ndarray:
        """Reads one tensor as float32 and checks its shape."""
        name = self._stored_name(tensor)
        if name is None:
            raise UserError(
                f"{self._place}: the weights in {self._folder} have no tensor "
                f"{self._prefix + tensor!r}; take an undamaged copy of the checkpoint"
            )
        array = self._tensor(name)
        if array.shape != wanted:
            raise UserError(
                f"{self._place}: tensor {name!r} in {self._folder} has shape {array.shape}, but "
                f"config.json asks for {wanted}; take both from one checkpoint"
            )
        if array.dtype not in _FLOATS:
            raise UserError(
                f"{self._place}: tensor {name!r} in {self._folder} holds {array.dtype}; take a "
                "checkpoint whose weights are not quantised"
            )
        array = array.astype(np.float32, copy=False)
        if not np.isfinite(array).all():
            raise UserError(
                f"{self._place}: tensor {name!r} in {self._folder} holds values that are not "
                "finite; take an undamaged copy of the checkpoint"
            )
        return array

    def _stored_name(self, tensor: str) -> str | None:
        """Finds the name of a tensor in the files, or None where they have none of its names."""
        # Checkpoints converted from TensorFlow call a normalisation's two tensors so.
        old = re.sub(r"(?<=LayerNorm\.)(weight|bias)$", _old_name, tensor)
        names = (self._prefix + tensor, self._prefix + old)
        return next((name for name in names if name in self._file_of), None)

    def _index(self) -> dict[str, str]:
        """Reads which file holds each tensor of a checkpoint in several files."""
        path = self._folder / INDEX
        files = content(path, self._place).get("weight_map")
        if not isinstance(files, Mapping) or not all(isinstance(f, str) for f in files.values()):
            raise UserError(
                f"{self._place}: {path} has no weight_map; take an undamaged copy of it"
            )
        return dict(files)

    def _file(self, name: str) -> Any:
        """Opens a file of tensors."""
        from safetensors import SafetensorError, safe_open

        if name not in self._files:
            path = self._folder / name
            try:
                file = self._open.enter_context(safe_open(path, framework="np"))
            except (OSError, SafetensorError) as error:
                raise UserError(
                    f"{self._place}: {path} cannot be read ({error}); take an undamaged copy of it"
                ) from error
            self._files[name] = file
        return self._files[name]

    def _tensor(self, name: str) -> np.ndarray:
        from safetensors import SafetensorError

        file = self._file(self._file_of[name])
        try:
            return np.asarray(file.get_tensor(name))
        except (SafetensorError, TypeError, AttributeError) as error:
            raise UserError(
                f"{self._place}: tensor {name!r} in {self._folder} cannot be read ({error}); take "
                "an undamaged copy of the checkpoint"
            ) from error


def _old_name(match: re.Match[str]) -> str:
    return {"weight": "gamma", "bias": "beta"}[match[0]]
