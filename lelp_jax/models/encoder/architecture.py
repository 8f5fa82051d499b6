"""The sizes of a transformer encoder, from which its network follows."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

from lelp_jax.core.constraints import AT_LEAST_ONE, NON_NEGATIVE, PROPER_SHARE
from lelp_jax.core.errors import UserError

Family = Literal[
    "albert", "bert", "deberta", "distilbert", "electra", "modernbert", "mpnet", "roberta"
]
Activation = Literal["gelu", "gelu_new", "relu"]
Size = Annotated[int, AT_LEAST_ONE]
SizeOrNone = Annotated[int, NON_NEGATIVE]


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A transformer encoder: BERT (Devlin et al., arXiv 1810.04805, section 3) and its descendants.

    The network follows from these fields alone; the family only says how a checkpoint names its
    tensors. The defaults are BERT's, and each other field is one change to it, independent of the
    rest.

    Attributes:
        family: "bert" (MiniLM is one), "roberta", "distilbert", "albert", "electra", "mpnet",
            "deberta" (versions 2 and 3) or "modernbert".
        num_tokens: Rows of the table of tokens.
        dims: Width of a hidden state.
        layers: How many layers a text runs through.
        heads: Attention heads, each of `dims / heads`.
        hidden: Width inside the feed-forward part.
        positions: How many places there are, `first_position` included; rows of the table of
            positions, where there is one.
        first_position: Row of the first token; RoBERTa leaves the rows before it to padding.
        token_types: Rows of the table of token types; 0 where there is none. A text has type 0.
        embedding_dims: Width of the tables, where a dense layer brings them to `dims` (ALBERT, Lan
            et al., arXiv 1909.11942, section 3.1); 0 where they have `dims` themselves.
        groups: How many groups of layers share their parameters (ALBERT); 0 where none do.
        inner: Blocks in a layer of a group; 1 outside ALBERT.
        activation: "gelu" (exact), "gelu_new" (its tanh approximation) or "relu".
        norm_epsilon: Added to variances.
        pooler: Whether the checkpoint has a dense layer that summarises a text.
        pooler_input: What the pooler sees: the hidden state of the first token, or the mean of all.
        pooler_activation: What follows the pooler's dense layer.
        pooler_norm: Whether a normalisation follows that.
        position: How places are told apart. "table": a row is added to each token's. "bias": that,
            and a number for each distance and head is added to the scores of attention (MPNet, Song
            et al., arXiv 2004.09297; Raffel et al., arXiv 1910.10683, section 2.1). "disentangled":
            the scores have terms of content and distance (He et al., arXiv 2006.03654, equation 4).
            "rotary": queries and keys are rotated (Su et al., arXiv 2104.09864, section 3.2).
        buckets: Rows that tell distances apart: in all for "bias", to each side for "disentangled".
        max_distance: From here on all distances are one ("bias"), or the end of the logarithmic
            rows ("disentangled").
        rotary_base: Base of the wavelengths of "rotary", for layers that see the whole text.
        local_rotary_base: The same, for layers with a window.
        windows: For each layer, how many places to each side a token attends to, 0 for all; empty
            where no layer has a window.
        norm: Whether each part is normalised after the residual sum ("post"), or its input is, and
            the last hidden state once more ("pre").
        first_norm: Whether the attention of the first layer normalises its input, where others do;
            ModernBERT's does not, as it sees the normalised embedding.
        gated: Whether the feed-forward part is gated (Shazeer, arXiv 2002.05202, equation 5).
        biased: Whether dense layers and normalisations have a bias.
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
    activation: Activation = "gelu"
    norm_epsilon: Annotated[float, PROPER_SHARE] = 1e-12
    pooler: bool = False
    pooler_input: Literal["cls", "mean"] = "cls"
    pooler_activation: Literal["tanh", "gelu", "gelu_new", "relu"] = "tanh"
    pooler_norm: bool = False
    position: Literal["table", "bias", "disentangled", "rotary"] = "table"
    buckets: SizeOrNone = 0
    max_distance: SizeOrNone = 0
    rotary_base: Annotated[float, NON_NEGATIVE] = 0.0
    local_rotary_base: Annotated[float, NON_NEGATIVE] = 0.0
    windows: tuple[SizeOrNone, ...] = ()
    norm: Literal["post", "pre"] = "post"
    first_norm: bool = True
    gated: bool = False
    biased: bool = True

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
        if self.windows and len(self.windows) != len(self.sequence):
            raise UserError(
                f"windows must be one for each of the {len(self.sequence)} layers, got "
                f"{len(self.windows)}"
            )
        if self.position == "rotary" and (self.head_dims % 2 or not self.rotary_base):
            raise UserError(
                f"rotary positions need an even width of heads, got {self.head_dims}, and a "
                f"rotary_base above 0, got {self.rotary_base}"
            )
        least = {"bias": (4, self.buckets // 4 + 1), "disentangled": (2, self.buckets // 2 + 2)}
        if self.position in least:
            buckets, distance = least[self.position]
            if self.buckets < buckets or self.max_distance < distance:
                raise UserError(
                    f"{self.position} positions need buckets of {buckets} or more, got "
                    f"{self.buckets}, and a max_distance of {distance} or more, got "
                    f"{self.max_distance}"
                )

    @property
    def head_dims(self) -> int:
        """Width of an attention head."""
        return self.dims // self.heads

    @property
    def longest(self) -> int:
        """How many tokens a text may have."""
        return self.positions - self.first_position

    @property
    def position_rows(self) -> int:
        """Rows of the table of positions; 0 where there is none."""
        return self.positions if self.position in ("table", "bias") else 0

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
            0 for the output layer, the pooler and the last normalisation, 1 for the last block, one
            more for each block before it, and `blocks + 1` for what makes the first hidden state
            and for the table of distances. A shared block counts once.
        """
        for name in path:
            if name.startswith("layer_"):
                return self.blocks - int(name.removeprefix("layer_"))
            if name in ("embeddings", "distances"):
                return self.blocks + 1
        return 0

    def describe(self) -> dict[str, Any]:
        """Lists the fields, for JSON; `sections.build` takes them back.

        Fields that say how an encoder differs from BERT are left out where it does not, so that one
        more of them changes no fingerprint.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self)[_PLAIN:]}
        values = dataclasses.asdict(self)
        return {
            name: value
            for name, value in values.items()
            if name not in defaults or value != defaults[name]
        }


# The fields up to `pooler` are always listed.
_PLAIN = 1 + [field.name for field in dataclasses.fields(Architecture)].index("pooler")
