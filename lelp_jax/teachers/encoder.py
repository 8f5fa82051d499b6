"""Teachers fine-tuned from a pretrained transformer encoder."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any, cast

from lelp_jax.core.constraints import POSITIVE_SHARE, SHARE, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import with_place
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs.tokens import Tokens
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.encoder.trunk import ComputeDtype, Pooling, check_pooling
from lelp_jax.models.outputs import Model
from lelp_jax.teachers.trained import Headless, TrainedTeachers


@dataclasses.dataclass(frozen=True)
class Encoders(TrainedTeachers):
    """Encoders that start from the parameters of a Hugging Face checkpoint.

    Attributes:
        checkpoint: Its folder, or its name on the hub ("google-bert/bert-base-uncased").
        pooling: "mean" over the tokens, "cls" or the checkpoint's "pooler".
        dropout: Share of values dropped in training.
        checkpointing: Whether the gradient computes each layer again in place of keeping it, which
            takes a third longer and far less memory.
        compute_dtype: Type of the matrix products.
        layer_decay: Learning rate of a layer relative to that of the layer above it.
    """

    checkpoint: Annotated[
        str, NonEmpty("a Hugging Face checkpoint: its folder, or its name on the hub")
    ]
    pooling: Pooling = "mean"
    dropout: Annotated[float, SHARE] = 0.1
    checkpointing: bool = False
    compute_dtype: ComputeDtype = "float32"
    layer_decay: Annotated[float, POSITIVE_SHARE] = 1.0

    def check(self, dataset: Dataset) -> None:
        """Opens the checkpoint.

        Raises:
            UserError: It cannot be used, the data are no texts, or they cannot be trained on.
        """
        super().check(dataset)
        with_place("config.teacher", self._view.check, dataset)
        found = self._found
        with_place("config.teacher", check_pooling, found.architecture, self.pooling)
        if dataset.max_length > found.architecture.longest:
            raise UserError(
                f"config.data.max_length {dataset.max_length} exceeds the "
                f"{found.architecture.longest} tokens that config.teacher.checkpoint can read; "
                "lower it"
            )

    @functools.cached_property
    def _found(self) -> pretrained.Pretrained:
        return pretrained.load(self.checkpoint, "config.teacher.checkpoint")

    @property
    def _view(self) -> Tokens:
        return Tokens(self.checkpoint)

    def trunk(self, root: Path, dataset: Dataset, session: Session) -> Headless:
        """Returns the network.

        Args:
            root: The workdir.
            dataset: The data.
            session: The run.
        """
        found = self._found
        network: dict[str, Any] = {
            "pooling": self.pooling,
            "dropout": self.dropout,
            "checkpointing": self.checkpointing,
            "compute_dtype": self.compute_dtype,
        }

        def build(outputs: int) -> Model:
            encoder: Any = Encoder(outputs, found.architecture, **network)
            return cast(Model, encoder)

        return Headless(
            build=build,
            content={"checkpoint": found.fingerprint, **network},
            inputs=self._view.ensure(root, dataset, session),
            initial=lambda: {"trunk": found.trunk(self.pooling)},
            layer_decay=self.layer_decay,
        )
