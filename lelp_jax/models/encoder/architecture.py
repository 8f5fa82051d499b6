"""The sizes of a transformer encoder, from which its network follows."""

from __future__ import annotations

import dataclasses
import typing
from typing import Annotated, Literal

from lelp_jax.core.constraints import AT_LEAST_ONE, NON_NEGATIVE, PROPER_SHARE
from lelp_jax.core.errors import UserError

Family = Literal["albert", "bert", "distilbert", "roberta"]
FAMILIES: tuple[str, ...] = typing.get_args(Family)
Size = Annotated[int, AT_LEAST_ONE]
SizeOrNone = Annotated[int, NON_NEGATIVE]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A BERT-like encoder (Devlin et al., arXiv 1810.04805, section 3).

    The network follows from the sizes alone; the family only says how a checkpoint names its
    tensors. All fields are plain, so that `dataclasses.asdict` goes into JSON and
    `sections.build` takes it back.

    Attributes:
        family: "bert" (MiniLM is one), "roberta", "distilbert" or "albert".
        num_tokens: Rows of the table of tokens.
        dims: Width of a hidden state.
        layers: How many layers a text runs through.
        heads: Attention heads, each of `dims / heads`.
        hidden: Width inside the feed-forward part.
        positions: Rows of the table of positions.
        first_position: Row of the first token; RoBERTa leaves the rows before it to padding.
        token_types: Rows of the table of token types; 0 where there is none. A text has type 0.
        embedding_dims: Width of the tables, where a dense layer brings them to `dims` (ALBERT, Lan
            et al., arXiv 1909.11942, section 3.1); 0 where they have `dims` themselves.
        groups: How many groups of layers share their parameters (ALBERT); 0 where none do.
        inner: Blocks in a layer of a group; 1 outside ALBERT.
        activation: "gelu" (exact), "gelu_new" (its tanh approximation) or "relu".
        norm_epsilon: Added to variances.
        pooler: Whether the checkpoint has a dense layer with tanh for the first token.
    """

    family: Family
    num_tokens: Size
    dims: Size
    layers: Size
    heads: Size
    hidden: Size
    positions: Size
    first_position: SizeOrNone = 0
    token_types: SizeOrNone = 0
    embedding_dims: SizeOrNone = 0
    groups: SizeOrNone = 0
    inner: Size = 1
    activation: Literal["gelu", "gelu_new", "relu"] = "gelu"
    norm_epsilon: Annotated[float, PROPER_SHARE] = 1e-12
    pooler: bool = False

    def __post_init__(self) -> None:
        """Checks that the sizes go together.

        Raises:
            UserError: Two of them contradict each other.
        """
        if self.dims % self.heads:
            raise UserError(f"dims must be a multiple of heads ({self.heads}), got {self.dims}")
        if self.groups > self.layers:
            raise UserError(f"layers must be at least groups ({self.groups}), got {self.layers}")
        if self.inner > 1 and not self.groups:
            raise UserError(f"inner must be 1 where no layers are shared, got {self.inner}")
        if self.longest < 1:
            raise UserError(
                f"positions must be above first_position ({self.first_position}), got "
                f"{self.positions}"
            )

    @property
    def longest(self) -> int:
        """How many tokens a text may have."""
        return self.positions - self.first_position

    @property
    def blocks(self) -> int:
        """How many blocks have parameters of their own."""
        return self.groups * self.inner if self.groups else self.layers

    @property
    def sequence(self) -> tuple[int, ...]:
        """The block that a text runs through at each depth, from the first layer to the last."""
        if not self.groups:
            return tuple(range(self.layers))
        return tuple(
            layer * self.groups // self.layers * self.inner + block
            for layer in range(self.layers)
            for block in range(self.inner)
        )

    def depth_from_top(self, path: tuple[str, ...]) -> int:
        """Counts the layers between a parameter and the output, for its learning rate.

        Args:
            path: Its names from the outside in, such as ("trunk", "layer_3", "up", "kernel").

        Returns:
            0 for the output layer and the pooler, 1 for the last block, one more for each block
            before it, and `blocks + 1` for what makes the first hidden state. A shared block counts
            once.
        """
        for name in path:
            if name.startswith("layer_"):
                return self.blocks - int(name.removeprefix("layer_"))
            if name == "embeddings":
                return self.blocks + 1
        return 0
