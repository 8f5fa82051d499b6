"""Teachers fine-tuned from a pretrained transformer encoder."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any, cast

from lelp_jax.core import search_space
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import with_place
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs.tokens import Tokens
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.outputs import Model
from lelp_jax.teachers.trained import Headless, TrainedTeachers


@dataclasses.dataclass(frozen=True)
class Encoders(TrainedTeachers):
    """Teachers fine-tuned from the parameters of a Hugging Face checkpoint.

    Attributes:
        checkpoint: A folder, or a name on the hub ("google-bert/bert-base-uncased").
        pooling: "mean" over the tokens, "cls" or the checkpoint's "pooler".
        dropout: Share of values dropped in training, in [0, 1).
        checkpointing: Whether to recompute activations in the backward pass instead of storing
            them, which takes a third longer and needs far less memory.
        compute_dtype: Type of the matrix products, "float32" or "bfloat16".
        layer_decay: Learning rate of a layer relative to that of the layer above it, in (0, 1].
    """

    checkpoint: str
    pooling: str = "mean"
    dropout: float = 0.1
    checkpointing: bool = False
    compute_dtype: str = "float32"
    layer_decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.checkpoint:
            raise UserError(
                "checkpoint is empty; name a Hugging Face checkpoint, a folder or a name on the "
                "hub, with --config.teacher.checkpoint=DIR"
            )
        if not (search_space.is_positive(self.layer_decay) and self.layer_decay <= 1):
            raise UserError(f"layer_decay must be in (0, 1], got {self.layer_decay}")

    def check(self, dataset: Dataset) -> None:
        """Opens the checkpoint and checks that it can be trained on the data.

        Raises:
            UserError: The checkpoint cannot be used, the data are not texts, or there are too few
                labelled rows.
        """
        super().check(dataset)
        with_place("config.teacher", self._view.check, dataset)
        loaded = self._pretrained
        problem = Encoder.check(
            loaded.architecture,
            self.pooling,
            self.dropout,
            self.checkpointing,
            self.compute_dtype,
        )
        if problem:
            raise UserError(f"config.teacher: {problem}")
        if dataset.max_length > loaded.architecture.longest:
            raise UserError(
                f"config.data.max_length {dataset.max_length} exceeds the "
                f"{loaded.architecture.longest} tokens that config.teacher.checkpoint can read; "
                "lower it"
            )

    # Cached, since checking the data and building the network both need the checkpoint.
    @functools.cached_property
    def _pretrained(self) -> pretrained.Pretrained:
        return pretrained.load(self.checkpoint, "config.teacher.checkpoint")

    @property
    def _view(self) -> Tokens:
        return Tokens(self.checkpoint)

    def prepare_trunk(self, root: Path, dataset: Dataset, session: Session) -> Headless:
        """Prepares the tokens and describes the encoder up to its output layer.

        Args:
            root: The workdir.
            dataset: The data.
            session: The run.
        """
        loaded = self._pretrained
        network: dict[str, Any] = {
            "pooling": self.pooling,
            "dropout": self.dropout,
            "checkpointing": self.checkpointing,
            "compute_dtype": self.compute_dtype,
        }

        def build(outputs: int) -> Model:
            encoder: Any = Encoder(outputs, loaded.architecture, **network)
            return cast(Model, encoder)

        return Headless(
            build=build,
            content={"checkpoint": loaded.fingerprint, **network},
            inputs=self._view.ensure(root, dataset, session),
            # The output layer is new; only the trunk starts from the checkpoint.
            initial=lambda: {"trunk": loaded.trunk(self.pooling)},
            layer_decay=self.layer_decay,
        )
