"""What every teacher is, whether trained here or elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from lelp_jax.models.outputs import Model
from lelp_jax.train.scheduler import Trained


@dataclasses.dataclass(frozen=True)
class Network:
    """A teacher that can answer for inputs that it has not seen.

    Attributes:
        model: The network.
        load: Returns its parameters, on the host.
        trained: Its place in the fleet that trained it.
        inputs: Fingerprint of the inputs that it takes.
    """

    model: Model
    load: Callable[[], Any]
    trained: Trained
    inputs: str


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen teacher.

    Attributes:
        fingerprint: Names everything it depends on.
        dims: Embedding dims.
        outputs: Width of its output layer; the number of classes, or of its own subclasses.
        answers: Logits [n, outputs] and embeddings [n, dims], float32, of rows given by their
            data-set index [n].
        class_logits: Of rows given by their data-set index [n], [n, classes] float32.
        output_weights: Weights of its output layer, [dims, outputs] float32.
        answers_test: Whether it has answers for the test rows.
        mend: What to do about an answer that is not finite.
        network: What it is made of, or None where only its answers are known.
    """

    fingerprint: str
    dims: int
    outputs: int
    answers: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
    class_logits: Callable[[np.ndarray], np.ndarray]
    output_weights: Callable[[], np.ndarray]
    answers_test: bool
    mend: str
    network: Network | None
