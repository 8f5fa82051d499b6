"""A student on its own: parameters, architecture, how it sees rows, label names; in one folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lelp_jax import methods, models
from lelp_jax.core import files
from lelp_jax.inputs import ENCODINGS, Encoding, Inputs
from lelp_jax.methods.base import identity_readout
from lelp_jax.train.state import Params

_FORMAT = 2
_PARAMETERS = "parameters.safetensors"
_CARD = "student.json"


@dataclasses.dataclass(frozen=True)
class Student:
    """A loaded student.

    Attributes:
        class_names: One name per class.
        card: What `student.json` holds.
    """

    class_names: tuple[str, ...]
    card: Mapping[str, Any]
    _encoding: Encoding
    _model: models.Model
    _params: Any
    _extra: Any
    _constants: Mapping[str, Any]

    def class_logits(self, raw: Any) -> np.ndarray:
        """Returns class logits of rows.

        Args:
            raw: Rows as the data source gives them: features, [rows, features...], or texts,
                [rows].

        Returns:
            [rows, classes] float32; their softmax gives the probabilities.
        """
        inputs = jnp.asarray(self._encoding(raw))
        outputs = self._model.apply({"params": self._params}, inputs, train=False)
        hyperparameters = {name: jnp.float32(value) for name, value in self.card["numeric"].items()}
        readout = methods.find(self.card["method"]).readout
        return np.asarray(readout(outputs, self._extra, self._constants, hyperparameters))


def save(
    folder: Path,
    *,
    method: str,
    hyperparameters: Mapping[str, float],
    model: Mapping[str, Any],
    num_outputs: int,
    inputs: Inputs,
    params: Params,
    constants: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Writes a student into a folder of its own.

    Args:
        folder: Made where it is not there.
        method: Name of the method, which says how class logits are read out.
        hyperparameters: Its traced settings.
        model: Family and settings of the network.
        num_outputs: Width of the output layer.
        inputs: What it sees of rows.
        params: Parameters; the method's own are kept where its readout takes them.
        constants: The method's arrays, likewise.
        class_names: One name per class.
        facts: What else to keep in `student.json`.
    """
    from safetensors.numpy import save as to_bytes

    folder.mkdir(parents=True, exist_ok=True)
    if methods.find(method).readout is identity_readout:
        params, constants = params._replace(extra=None), {}
    arrays = {
        **{f"constants.{name}": np.asarray(array) for name, array in constants.items()},
        **{
            f"{group}.{name}": np.ascontiguousarray(leaf)
            for group, tree in (("params", params.network), ("extra", params.extra or {}))
            for name, leaf in flatten_dict(tree, sep=".").items()
        },
    }
    files.write_atomic(folder / _PARAMETERS, to_bytes(arrays))
    files.write_json(
        folder / _CARD,
        {
            "format": _FORMAT,
            "method": method,
            "numeric": hyperparameters,
            "model": dict(model),
            "num_outputs": num_outputs,
            "num_tokens": inputs.num_tokens,
            "inputs": {"kind": inputs.encoding.kind, **inputs.encoding.save(folder)},
            "class_names": class_names,
            **facts,
        },
    )


def load(folder: Path | str) -> Student:
    """Reads a student that `save` wrote."""
    from safetensors.numpy import load_file

    card = json.loads((Path(folder) / _CARD).read_text())
    groups: dict[str, dict[str, Any]] = {name: {} for name in ("params", "extra", "constants")}
    for name, array in load_file(Path(folder) / _PARAMETERS).items():
        group, _, rest = name.partition(".")
        groups[group][rest] = array
    model = {key: tuple(v) if isinstance(v, list) else v for key, v in card["model"].items()}
    encoding = ENCODINGS[card["inputs"]["kind"]]
    return Student(
        class_names=tuple(card["class_names"]),
        card=card,
        _encoding=encoding.load(Path(folder), card["inputs"]),
        _model=models.build(model, card["num_outputs"], card["num_tokens"]),
        _params=jax.device_put(unflatten_dict(groups["params"], sep=".")),
        _extra=jax.device_put(unflatten_dict(groups["extra"], sep=".")),
        _constants=groups["constants"],
    )
