"""The tensors of a checkpoint, read one at a time."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from lelp_jax.core.errors import UserError
from lelp_jax.models.pretrained.families import Family
from lelp_jax.models.pretrained.folder import INDEX, check_content, read_json
from lelp_jax.models.pretrained.names import Parameter

_FLOATS = (np.dtype(ml_dtypes.bfloat16), *(np.dtype(f"float{bits}") for bits in (16, 32, 64)))


class Weights:
    """A checkpoint's tensors; a context manager that keeps their files open.

    Args:
        path: The file of weights, or the index of several.
        family: The family of the encoder in it.
        place: Where the checkpoint was named, for messages.

    Raises:
        UserError: The weights are damaged, or of no encoder of the family.
    """

    def __init__(self, path: Path, family: Family, place: str) -> None:
        self._folder = path.parent
        self._place = place
        self._open = contextlib.ExitStack()
        self._files: dict[str, Any] = {}
        if path.name == INDEX:
            self._file_of = self._read_index()
        else:
            self._file_of = dict.fromkeys(self._file(path.name).keys(), path.name)
        self._prefix = self._find_prefix(f"{family.embeddings['word']}.weight", family.prefix)
        # A head is beside the encoder, in the same wrapper.
        self._outside = self._prefix.removesuffix(family.prefix)

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def find_shape(self, tensor: str, *, in_head: bool) -> tuple[int, ...] | None:
        """Finds the shape of a tensor, or None where there is no such tensor.

        Args:
            tensor: Its name without the prefix of the encoder.
            in_head: Whether it belongs to a head beside the encoder.
        """
        name = self._stored_name(tensor, in_head)
        return None if name is None else self._tensor(name).shape

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
            self._part(tensor, parameter.in_head, shape[::-1] if parameter.transposed else shape)
            for tensor in parameter.tensors
        ]
        if parameter.transposed:
            parts = [part.T for part in parts]
        return np.ascontiguousarray(np.concatenate(parts, axis=-1) if parts[1:] else parts[0])

    def _part(self, tensor: str, in_head: bool, wanted: tuple[int, ...]) -> np.ndarray:
        """Reads one tensor as float32 and checks its shape."""
        name = self._stored_name(tensor, in_head)
        if name is None:
            prefix = self._outside if in_head else self._prefix
            raise UserError(
                f"{self._place}: the weights in {self._folder} have no tensor "
                f"{prefix + tensor!r}; take an undamaged copy of the checkpoint"
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

    def _find_prefix(self, words: str, usual: str) -> str:
        """Finds what is before the names of the encoder's tensors.

        A model with a head puts its family's name there, a wrapper for training ("module.",
        "_orig_mod.") or another model its own.

        Args:
            words: The table of tokens: every encoder has it, and no head of another task does.
            usual: The family's name.
        """
        found = [
            name.removesuffix(words)
            for name in self._file_of
            if name == words or name.endswith(f".{words}")
        ]
        if not found:
            shown = ", ".join(map(repr, sorted(self._file_of)[:3])) or "none at all"
            raise UserError(
                f"{self._place}: the weights in {self._folder} have no tensor {words!r}, whatever "
                f"is before its name; the first are {shown}; give the checkpoint of an encoder "
                f"that config.json tells of"
            )
        # Where there are several, transformers would read one of these.
        known = [prefix for prefix in (usual, "") if prefix in found]
        if len(found) > 1 and len(known) != 1:
            raise UserError(
                f"{self._place}: the weights in {self._folder} have several encoders: "
                f"{' and '.join(repr(prefix + words) for prefix in sorted(found))}; save the one "
                "to use as a checkpoint of its own"
            )
        return (known or found)[0]

    def _stored_name(self, tensor: str, in_head: bool) -> str | None:
        """Finds the name of a tensor in the files, or None where they have none of its names."""
        # Checkpoints converted from TensorFlow call a normalisation's two tensors so.
        old = re.sub(r"(?<=LayerNorm\.)(weight|bias)$", _old_name, tensor)
        prefix = self._outside if in_head else self._prefix
        return next(
            (name for name in (prefix + tensor, prefix + old) if name in self._file_of), None
        )

    def _read_index(self) -> dict[str, str]:
        """Reads which file holds each tensor of a checkpoint in several files."""
        path = self._folder / INDEX
        files = read_json(path, self._place).get("weight_map")
        if not isinstance(files, Mapping) or not all(isinstance(f, str) for f in files.values()):
            raise UserError(
                f"{self._place}: {path} has no weight_map; take an undamaged copy of it"
            )
        missing = sorted(
            file for file in set(files.values()) if not (self._folder / file).is_file()
        )
        if missing:
            raise UserError(
                f"{self._place}: {path} names {_list_some(missing)}, of which there is no file "
                "beside it; copy what is missing into the folder"
            )
        return dict(files)

    def _file(self, name: str) -> Any:
        """Opens a file of tensors."""
        from safetensors import SafetensorError, safe_open

        if name not in self._files:
            path = self._folder / name
            check_content(path, self._place)
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


def _list_some(names: Collection[str]) -> str:
    """Lists the first three names, and counts the others."""
    first = ", ".join(list(names)[:3])
    return first if len(names) <= 3 else f"{first} and {len(names) - 3} more"
