"""The interface of a teacher, whether it was trained here or elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from lelp_jax.models.outputs import Model
from lelp_jax.models.variables import Variables
from lelp_jax.train.scheduler import Trained


@dataclasses.dataclass(frozen=True)
class Network:
    """The network behind a teacher, which can be applied to inputs it has not seen.

    Attributes:
        model: The network.
        load: Loads parameters and running averages, on the host.
        trained: The training result: its fleet and the position in it.
        inputs: Fingerprint of the inputs that the network takes.
        answers: Computes logits [n, outputs] and embeddings [n, dims], float32, of any such inputs
            [n, features...].
    """

    model: Model
    load: Callable[[], Variables]
    trained: Trained
    inputs: str
    answers: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen teacher.

    Its outputs are functions of a row's index in the data set rather than of inputs, so that a
    teacher of which only files of outputs exist is used like one that was trained here.

    Attributes:
        fingerprint: Hash of everything the teacher depends on.
        dims: Embedding dims.
        outputs: Width of the output layer: the number of classes, or of subclasses if the teacher
            was trained on such.
        answers: Computes logits [n, outputs] and embeddings [n, dims], float32, of rows given by
            their data-set index [n].
        class_logits: Computes class logits [n, classes], float32, of rows given by their data-set
            index [n].
        output_weights: Computes the weights of the output layer, [dims, outputs] float32.
        answers_test: Whether the teacher has outputs for the test rows.
        hint: How to fix an output that is not finite, for error messages.
        network: The network, or None if only the teacher's outputs are known.
    """

    fingerprint: str
    dims: int
    outputs: int
    answers: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    class_logits: Callable[[np.ndarray], np.ndarray]
    output_weights: Callable[[], np.ndarray]
    answers_test: bool
    hint: str
    network: Network | None
