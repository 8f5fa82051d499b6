"""Exports selected students, each as one folder that is usable without the run.

The folder has the parameters, the architecture, the encoding of inputs and the class names.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from lelp_jax import methods, models
from lelp_jax.core import artifacts, files
from lelp_jax.core.errors import make_unknown_name_error
from lelp_jax.deploy import folder as layout
from lelp_jax.experiment.run import Run
from lelp_jax.inputs import ENCODINGS, Encoding
from lelp_jax.methods.base import identity_readout
from lelp_jax.models import tokens, variables
from lelp_jax.models.variables import Variables
from lelp_jax.students.selection import Outcome

STAGE = "exports"
_VERSION = 1


@dataclasses.dataclass(frozen=True)
class ExportedStudent:
    """A student loaded from its folder.

    Attributes:
        class_names: One name per class.
        card: The content of `student.json`.
    """

    class_names: tuple[str, ...]
    card: Mapping[str, Any]
    _encoding: Encoding
    _model: models.Model
    _arrays: Mapping[str, Any]

    def class_logits(self, raw: Any) -> np.ndarray:
        """Computes class logits of rows.

        The number of rows and the length of texts are padded to powers of two, so that JAX compiles
        the network for few shapes only.

        Args:
            raw: Rows as the data source gives them: features, [rows, features...]; the columns of
                a table by name, as a mapping of names to values, a list of mappings, a data frame
                or a structured array, with other columns or without; or a list of texts. If all
                columns of the table are numbers, an array [rows, columns] may be given, in the
                order of `card["inputs"]["columns"]`.

        Returns:
            Class logits, [rows, classes] float32; their softmax gives the probabilities.

        Raises:
            UserError: The rows do not have the features of the training rows, or a value cannot be
                used.
        """
        inputs = np.asarray(self._encoding(raw))
        rows = len(inputs)
        if not rows:
            return np.zeros((0, len(self.class_names)), np.float32)
        padded = self._pad(inputs)
        return np.asarray(self._program(self._arrays, padded))[:rows]

    def _pad(self, inputs: np.ndarray) -> np.ndarray:
        """Pads the number of rows, and the length of token sequences, to powers of two."""
        padding = [(0, _round_up(len(inputs)) - len(inputs)), *[(0, 0)] * (inputs.ndim - 1)]
        if not tokens.are_tokens(inputs):
            return np.pad(inputs, padding)
        # Never beyond the encoding's length limit: the network may have no embedding for a position
        # after it.
        longest = max(inputs.shape[1], getattr(self._encoding, "max_length", inputs.shape[1]))
        length = min(_round_up(inputs.shape[1]), longest)
        padding[1] = (0, length - inputs.shape[1])
        return np.pad(inputs, padding, constant_values=tokens.PAD)

    @functools.cached_property
    def _program(self) -> Any:
        # Training has its own compiled prediction for fleets; an exported student is used alone.
        readout = methods.find(self.card["method"]).readout
        numbers = {name: jnp.float32(value) for name, value in self.card["numeric"].items()}

        def compute(arrays: Mapping[str, Any], inputs: jax.Array) -> jax.Array:
            network = Variables(arrays["params"], arrays["statistics"] or None)
            outputs = variables.predict(self._model, network, inputs)
            return readout(outputs, arrays["extra"], arrays["constants"], numbers)

        return jax.jit(compute)


def _round_up(number: int) -> int:
    """Rounds a positive number up to a power of two."""
    return 1 << (number - 1).bit_length()


def ensure(run: Run, outcomes: Sequence[Outcome]) -> dict[str, Path]:
    """Exports each selected student to a folder, unless an earlier launch did so.

    Args:
        run: The run.
        outcomes: All students after training.

    Returns:
        The folder of each selected student, by the student's fingerprint.

    Raises:
        Interrupted: The run was asked to stop.
    """
    return {
        outcome.trained.fingerprint: _ensure_one(run, outcome)
        for outcome in outcomes
        if outcome.selected
    }


def _ensure_one(run: Run, outcome: Outcome) -> Path:
    """Exports one student, unless an earlier launch did so."""
    key = {
        "version": _VERSION,
        "format": layout.FORMAT,
        "student": outcome.trained.fingerprint,
        "class_names": list(run.dataset.class_names),
        "parameters": [outcome.trained.folder.name, outcome.trained.position],
    }

    def build(folder: Path) -> Mapping[str, Any]:
        run.session.interrupts.check()
        save(folder, run, outcome)
        return {}

    return artifacts.run(run.root, STAGE, key, build, lambda folder, _: folder)


def save(folder: Path, run: Run, outcome: Outcome) -> None:
    """Writes a student to a folder.

    Args:
        folder: An existing folder.
        run: The run that trained the student.
        outcome: The student.
    """
    from safetensors.numpy import save as to_bytes

    student, trained = outcome.student, outcome.trained
    params, constants = trained.load(student.spec, run.inputs.values), student.constants
    # Parameters and arrays that only the loss uses, such as a projection of features, are left out
    # unless the readout may use them too.
    if student.spec.readout is identity_readout:
        params, constants = params._replace(extra=None), {}
    constants = {k: v for k, v in constants.items() if k not in student.method.loss_constants}
    arrays = {
        **{f"constants.{name}": np.asarray(array) for name, array in constants.items()},
        **{
            f"{group}.{name}": np.ascontiguousarray(leaf)
            for group, tree in (
                ("params", params.network),
                ("statistics", params.statistics or {}),
                ("extra", params.extra or {}),
            )
            for name, leaf in flatten_dict(tree, sep=".").items()
        },
    }
    files.write_atomic(folder / layout.PARAMETERS, to_bytes(arrays))
    files.write_json(
        folder / layout.CARD,
        {
            "format": layout.FORMAT,
            "method": student.trial.method,
            "numeric": student.trial.traced,
            "model": dict(student.network.settings),
            "num_outputs": student.num_outputs,
            "num_tokens": run.inputs.num_tokens,
            "inputs": {"kind": run.inputs.encoding.kind, **run.inputs.encoding.save(folder)},
            "class_names": run.dataset.class_names,
            "settings": student.trial.hyperparameters,
            "replicate": student.replicate.number,
            "validation": trained.validation,
            "fingerprint": trained.fingerprint,
        },
    )


def load(folder: Path | str) -> ExportedStudent:
    """Loads a student that `save` wrote.

    Args:
        folder: The student's folder.

    Returns:
        The student, with its arrays on the default device.

    Raises:
        UserError: The folder holds no student, a damaged one, or one of another version.
    """
    folder = Path(folder)
    card, groups = layout.read_card(folder), layout.read_arrays(folder)
    # JSON has no tuples, but model settings must be hashable.
    model = {key: tuple(v) if isinstance(v, list) else v for key, v in card["model"].items()}
    kind = card["inputs"]["kind"]
    used = (("kind of inputs", kind, ENCODINGS), ("method", card["method"], methods.list_names()))
    for what, name, known in used:
        if name not in known:
            raise make_unknown_name_error(f"{what} in {folder / layout.CARD}", name, known)
    return ExportedStudent(
        class_names=tuple(card["class_names"]),
        card=card,
        _encoding=ENCODINGS[kind].load(folder, card["inputs"]),
        _model=models.build(model, card["num_outputs"], card["num_tokens"]),
        _arrays=jax.device_put(
            {
                **{
                    name: unflatten_dict(groups[name], sep=".")
                    for name in ("params", "statistics", "extra")
                },
                "constants": groups["constants"],
            }
        ),
    )
