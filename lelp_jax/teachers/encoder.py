"""Teachers fine-tuned from a pretrained transformer encoder."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any, cast

from lelp_jax.core.constraints import POSITIVE_SHARE, SHARE, NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import call_with_place
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.inputs import checkpoint_tokenizer
from lelp_jax.inputs.tokens import Tokens
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.encoder.trunk import Pooling, check_pooling
from lelp_jax.models.outputs import ComputeDtype, Model
from lelp_jax.models.pretrained import PoolingChoice
from lelp_jax.teachers.trained import Headless, TrainedTeachers


@dataclasses.dataclass(frozen=True)
class Encoders(TrainedTeachers):
    """Teachers fine-tuned from the parameters of a Hugging Face checkpoint.

    Attributes:
        checkpoint: A folder, or a name on the hub ("google-bert/bert-base-uncased").
        pooling: "mean" over the tokens, "cls" for the first, "pooler" for what the checkpoint's own
            dense layer makes of them; "auto" is what a sentence-transformers checkpoint says, and
            "mean" for others.
        dropout: Share of values dropped in training.
        checkpointing: Whether to recompute activations in the backward pass instead of storing
            them, which takes a third longer and needs far less memory.
        compute_dtype: Type of the matrix products.
        layer_decay: Learning rate of a layer relative to that of the layer above it.
    """

    checkpoint: Annotated[
        str, NonEmpty("a Hugging Face checkpoint: its folder, or its name on the hub")
    ]
    pooling: PoolingChoice = "auto"
    dropout: Annotated[float, SHARE] = 0.1
    checkpointing: bool = False
    compute_dtype: ComputeDtype = "float32"
    layer_decay: Annotated[float, POSITIVE_SHARE] = 1.0

    def check(self, dataset: Dataset) -> None:
        """Opens the checkpoint and checks that it can be trained on the data.

        Raises:
            UserError: The checkpoint cannot be used, the data are not texts, or there are too few
                labelled rows.
        """
        super().check(dataset)
        call_with_place("config.teacher", self._view.check, dataset)
        loaded = self._pretrained
        call_with_place("config.teacher", check_pooling, loaded.architecture, self._pooling)
        if dataset.max_length > loaded.architecture.longest:
            raise UserError(
                f"config.data.max_length {dataset.max_length} exceeds the "
                f"{loaded.architecture.longest} tokens that config.teacher.checkpoint can read; "
                "lower it"
            )
        # Reports what is wrong with its files before anything is written.
        checkpoint_tokenizer.load(loaded, dataset.max_length)

    # Cached, since checking the data and building the network both need the checkpoint.
    @functools.cached_property
    def _pretrained(self) -> pretrained.Pretrained:
        return pretrained.load(self.checkpoint, "config.teacher.checkpoint")

    @functools.cached_property
    def _pooling(self) -> Pooling:
        return self._pretrained.choose_pooling(self.pooling)

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
            "pooling": self._pooling,
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
            initial=lambda: {"trunk": loaded.trunk(self._pooling)},
            layer_decay=self.layer_decay,
        )
