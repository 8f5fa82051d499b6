"""Embeddings of texts by a checkpoint that is not trained, in batches of few shapes."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from lelp_jax.core import parallel
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import call_with_place
from lelp_jax.models.encoder import trunk
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.trunk import Pooling, check_pooling
from lelp_jax.models.outputs import ComputeDtype
from lelp_jax.models.pretrained import Pretrained
from lelp_jax.models.token_batches import TokenBatch, make_batches
from lelp_jax.models.tokens import PAD, lengths


@dataclasses.dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """A checkpoint whose weights are not trained, and how it embeds texts.

    Attributes:
        checkpoint: The checkpoint.
        pooling: How the vectors of all tokens become one; see `models.trunk.Trunk`.
        compute_dtype: Type of the matrix products.
    """

    checkpoint: Pretrained
    pooling: Pooling
    compute_dtype: ComputeDtype

    def __post_init__(self) -> None:
        call_with_place("inputs 'embeddings'", check_pooling, self._architecture, self.pooling)

    def batches(self, tokens: np.ndarray) -> list[TokenBatch]:
        """Divides all rows into batches, which depend on the lengths alone.

        Args:
            tokens: [rows, length] int32 with -1 after the end.
        """
        return make_batches(lengths(tokens), self._architecture.longest)

    def embed(self, tokens: np.ndarray, batch: TokenBatch) -> np.ndarray:
        """Computes the embeddings of a batch, [n, dims] float32.

        Args:
            tokens: Those of all rows, [rows, length] int32 with -1 after the end.
            batch: The rows wanted.

        Raises:
            UserError: A value is not finite.
        """
        part = tokens[batch.rows, : batch.length]
        _, place, devices = _places()
        # Rows without a token fill the batch up to one of few sizes.
        rows = 1 << (len(part) - 1).bit_length()
        padding = [(0, rows + -rows % devices - len(part)), (0, batch.length - part.shape[1])]
        filled = np.pad(part, padding, constant_values=PAD)
        arguments = (self._parameters, jax.device_put(filled, place))
        static = (self._architecture, self.pooling, self.compute_dtype)
        program, _ = parallel.compile_program(_embed, static, arguments)
        values = np.asarray(program(*arguments))[: len(part)]
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            row = batch.rows[int(np.argmin(finite))]
            raise UserError(
                f"the embedding of the text of row {row} by the checkpoint "
                f"{self.checkpoint.folder} is not finite in {self.compute_dtype}; take another "
                "compute_dtype or checkpoint"
            )
        return values

    def __call__(self, tokens: np.ndarray) -> np.ndarray:
        """Computes the embeddings of texts, [rows, dims] float32.

        Args:
            tokens: [rows, length] int32 with -1 after the end.

        Raises:
            UserError: A value is not finite.
        """
        result = np.empty((len(tokens), self._architecture.dims), np.float32)
        for batch in self.batches(tokens):
            result[batch.rows] = self.embed(tokens, batch)
        return result

    @property
    def _architecture(self) -> Architecture:
        return self.checkpoint.architecture

    @functools.cached_property
    def _parameters(self) -> Any:
        return jax.device_put(self.checkpoint.trunk(self.pooling), _places()[0])


def _places() -> tuple[Any, Any, int]:
    """Chooses shardings of parameters and rows, and the number of devices for the rows."""
    if parallel.is_cpu():
        # One operation keeps all cores busy, and every device would hold the parameters.
        device = jax.local_devices()[0]
        return device, device, 1
    mesh = parallel.make_local_mesh()
    return parallel.make_sharding(mesh), parallel.make_sharding(mesh, parallel.DATA), mesh.size


def _embed(
    static: tuple[Architecture, Pooling, ComputeDtype], params: Any, tokens: jax.Array
) -> jax.Array:
    return trunk.embed(*static, params, tokens)
