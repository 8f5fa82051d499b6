"""Texts as the embeddings of a pretrained checkpoint that is not trained."""

from __future__ import annotations

import dataclasses
import os.path
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lelp_jax.core import artifacts
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import standardization
from lelp_jax.inputs import embedding_stage, token_stage, tokens
from lelp_jax.inputs.base import Inputs
from lelp_jax.inputs.features import FeatureEncoding
from lelp_jax.inputs.frozen import FrozenEncoder
from lelp_jax.inputs.text_encoding import TextEncoding
from lelp_jax.models import pretrained
from lelp_jax.models.outputs import ComputeDtype, InputKind
from lelp_jax.models.pretrained import PoolingChoice

# Version of how the embeddings are standardised.
_SCALING = 2


@dataclasses.dataclass(frozen=True)
class EmbeddingEncoding:
    """Embeds texts with a checkpoint, which is stored elsewhere, and standardises the embedding.

    Attributes:
        checkpoint: Name or folder of the checkpoint.
        tokens: Splits texts into tokens.
        network: The checkpoint.
        scaling: Shifts and scales the embedding.
    """

    kind: ClassVar[str] = "embeddings"

    checkpoint: str
    tokens: TextEncoding
    network: FrozenEncoder
    scaling: FeatureEncoding

    def __call__(self, raw: Any) -> np.ndarray:
        """Computes standardised embeddings, [rows, dims] float32.

        Args:
            raw: Texts, [rows].

        Raises:
            UserError: A row is not a text, or its embedding is not finite.
        """
        return self.scaling(self.network(self.tokens(raw)))

    def save(self, folder: Path) -> Mapping[str, Any]:
        """Writes tokenizer and scaling; of the checkpoint, only its location and fingerprint."""
        # A folder may be named from where the run was started.
        path = Path(os.path.expanduser(self.checkpoint))
        return {
            "checkpoint": str(path.resolve()) if path.is_dir() else self.checkpoint,
            "fingerprint": self.network.checkpoint.fingerprint,
            "pooling": self.network.pooling,
            "compute_dtype": self.network.compute_dtype,
            **self.tokens.save(folder),
            **self.scaling.save(folder),
        }

    @classmethod
    def load(cls, folder: Path, facts: Mapping[str, Any]) -> EmbeddingEncoding:
        """Reads what `save` wrote, and the checkpoint.

        Raises:
            UserError: The checkpoint is gone or another one, or a file is damaged.
            Unavailable: The checkpoint has to be fetched, and cannot be.
        """
        name = facts["checkpoint"]
        found = pretrained.load(name, f"the inputs of {folder} are embeddings of {name}")
        if found.fingerprint != facts["fingerprint"]:
            raise UserError(
                f"the inputs of {folder} are embeddings of {name} with the fingerprint "
                f"{facts['fingerprint']}, but the checkpoint there has {found.fingerprint}; put "
                "back the one that was used for training"
            )
        return cls(
            name,
            TextEncoding.load(folder, facts),
            FrozenEncoder(found, facts["pooling"], facts["compute_dtype"]),
            FeatureEncoding.load(folder, facts),
        )


@dataclasses.dataclass(frozen=True)
class TextEmbeddings:
    """The embedding of each text by a checkpoint, computed once.

    Each dimension is brought to mean 0 and variance 1 over the training rows; one that is constant
    there is 0. Small networks on frozen embeddings are the second set-up of the LELP paper
    (Loo et al., arXiv 2409.20449).

    Attributes:
        checkpoint: Name or folder of the checkpoint; "" takes the teacher's.
        pooling: "mean" of the hidden states of all tokens, "cls" for that of the first token,
            "pooler" for what the checkpoint's own dense layer makes of one of these; "auto" is what
            a sentence-transformers checkpoint says, and "mean" for others.
        compute_dtype: Type of the matrix products.
    """

    kind: ClassVar[InputKind] = "numbers"

    checkpoint: str = ""
    pooling: PoolingChoice = "auto"
    compute_dtype: ComputeDtype = "float32"

    def check(self, dataset: Dataset) -> None:
        """Checks that the data are texts.

        Raises:
            UserError: They are numbers.
        """
        token_stage.check("embeddings", dataset)

    def ensure(self, root: Path, dataset: Dataset, session: Session) -> Inputs:
        """Computes the standardised embedding of every row, [rows, dims].

        Args:
            root: The workdir.
            dataset: The data.
            session: The run.

        Raises:
            UserError: See `tokens.Tokens.ensure`; or an embedding is not finite, or the same for
                all rows.
            Interrupted: The run was asked to stop; what was computed is kept.
        """
        checkpoint = tokens.load_checkpoint(self.checkpoint, "embeddings")
        pooling = checkpoint.choose_pooling(self.pooling)
        network = FrozenEncoder(checkpoint, pooling, self.compute_dtype)
        texts = tokens.make_tokens(root, checkpoint, dataset, session)
        values, fingerprint = embedding_stage.ensure(root, texts, network, session)
        preprocessing = standardization(values[dataset.train], same_unit=True)
        assert isinstance(texts.encoding, TextEncoding)
        return Inputs(
            preprocessing(values),
            artifacts.fingerprint({"scaling": _SCALING, "embeddings": fingerprint}),
            EmbeddingEncoding(
                self.checkpoint, texts.encoding, network, FeatureEncoding(preprocessing)
            ),
            notes=texts.notes + preprocessing.describe(),
        )
