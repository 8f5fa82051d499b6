"""A pretrained encoder: its architecture, its parameters, its tokenizer and its name by content."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import unflatten_dict

from lelp_jax.core.errors import UserError
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.trunk import Pooling
from lelp_jax.models.pretrained import configuration, fetching, folder, names, pooling
from lelp_jax.models.pretrained.families import BY_NAME, Pooler
from lelp_jax.models.pretrained.weights import Weights


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A checkpoint that was found whole.

    Attributes:
        folder: Its folder.
        architecture: Its sizes.
        pooler: What its pooler is called; None where it has none.
        fingerprint: Names what the architecture and all parameters hold, not how or where they are
            stored.
        place: Where it was named, for messages.
    """

    folder: Path
    architecture: Architecture
    pooler: Pooler | None
    fingerprint: str
    place: str

    @property
    def tokenizer_file(self) -> Path:
        """The tokenizer.json of the `tokenizers` library."""
        return self.folder / folder.TOKENIZER

    @functools.cached_property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the trunk, nested float32 arrays; with "pooler" where there is one."""
        path = folder.find_weights(self.folder, str(self.folder), self.place)
        with Weights(path, BY_NAME[self.architecture.family], self.place) as weights:
            parameters = names.parameters(self.architecture, self.pooler)
            flat = {parameter.path: weights.read(parameter) for parameter in parameters}
        return unflatten_dict(flat)

    def choose_pooling(self, wanted: pooling.PoolingChoice) -> Pooling:
        """Chooses how a text's hidden states become one vector; see `pooling.choose`.

        Args:
            wanted: What the config asks for.

        Raises:
            UserError: "auto" is asked for, and the checkpoint's own pooling is another one.
        """
        return pooling.choose(wanted, self.folder, self.place)

    def trunk(self, pooling: str) -> dict[str, Any]:
        """Reads the parameters of a `Trunk` with a pooling.

        Args:
            pooling: The trunk's pooling; only "pooler" has the parameters of one.

        Raises:
            UserError: The checkpoint has no pooler, but the pooling asks for it.
        """
        if pooling == "pooler" and not self.architecture.pooler:
            raise UserError(
                f"{self.place}: the checkpoint in {self.folder} has no pooler; take the pooling "
                "'mean' or 'cls'"
            )
        return {
            name: part
            for name, part in self.parameters.items()
            if not name.startswith("pooler") or pooling == "pooler"
        }


def load(name: str, place: str) -> Pretrained:
    """Finds a checkpoint and reads all of it once; its parameters are read again when asked for.

    Args:
        name: A folder with config.json, tokenizer.json and model.safetensors, in one file or in
            several with an index; or a name on the Hugging Face hub, fetched where it was not
            before.
        place: The key of the config that holds the name ("config.teacher.checkpoint").

    Raises:
        UserError: It is not there, damaged, or no encoder of a known family.
        Unavailable: It has to be fetched, and the hub cannot be reached.
    """
    # Of a checkpoint on the hub that cannot be used, only this small file is fetched.
    family = configuration.read_family(fetching.fetch(name, place, [folder.CONFIG]), name, place)
    found = fetching.fetch(name, place)
    path = folder.find_weights(found, name, place)
    if not (found / folder.TOKENIZER).is_file():
        raise UserError(
            f"{place}: {folder.TOKENIZER} is missing in {found}; "
            f"`transformers.AutoTokenizer.from_pretrained({name!r}).save_pretrained(DIR)` "
            "writes one into the folder DIR, for this one"
        )
    folder.check_content(found / folder.TOKENIZER, place)
    if path.name == folder.WEIGHTS and (found / folder.INDEX).is_file():
        said = f"{path} is read, not the files that {folder.INDEX} names"
        folder.log_once(logging.WARNING, said)
    with Weights(path, BY_NAME[family], place) as weights:
        architecture = configuration.read(found, name, family, place)
        pooler = _find_pooler(weights, architecture)
        if pooler:
            architecture = configuration.add_pooler(architecture, pooler, found, place)
        digest = hashlib.blake2b(
            json.dumps(architecture.describe(), sort_keys=True).encode(), digest_size=16
        )
        for parameter in names.parameters(architecture, pooler):
            digest.update("/".join(parameter.path).encode())
            digest.update(weights.read(parameter).data)
    return Pretrained(found, architecture, pooler, digest.hexdigest(), place)


def _find_pooler(weights: Weights, sizes: Architecture) -> Pooler | None:
    """Finds the pooler that a checkpoint has.

    A head for another task may have a layer of that name, but hardly one of that shape.
    """
    for pooler in BY_NAME[sizes.family].poolers:
        shape = weights.find_shape(f"{pooler.dense}.weight", in_head=pooler.in_head)
        if shape == (sizes.dims, sizes.dims) or (shape and not pooler.in_head):
            return pooler
    return None


def cut_architecture(architecture: Architecture, layers: int) -> Architecture:
    """Computes the sizes of an encoder of some of the layers; see `cut_parameters`.

    Args:
        architecture: Sizes of the encoder.
        layers: How many layers to keep.

    Raises:
        UserError: There are not as many layers, or groups of shared ones would be left out.
    """
    if not 1 <= layers <= architecture.layers:
        raise UserError(f"layers must be in 1..{architecture.layers}, got {layers}")
    kept = _choose_layers(architecture, layers)
    return dataclasses.replace(
        architecture,
        layers=layers,
        windows=tuple(architecture.windows[layer] for layer in kept if architecture.windows),
        # Only the layer that follows the embeddings may do without its normalisation.
        first_norm=architecture.first_norm or kept[0] > 0,
    )


def cut_parameters(
    architecture: Architecture, trunk: Mapping[str, Any], layers: int
) -> dict[str, Any]:
    """Picks the parameters of some of the layers, for a student that starts from its teacher.

    The layers are evenly spaced and end with the last one: the last of each of `layers` stretches
    of equal length, or as near as may be; 2 of 6 are the third and the sixth. These are the layers
    that TinyBERT's uniform strategy maps its own to (Jiao et al., arXiv 1909.10351, section 4.1).
    Where layers share their parameters, the text runs through them fewer times.

    Args:
        architecture: Sizes of the encoder.
        trunk: Its parameters.
        layers: How many layers to keep.
    """
    kept = _choose_layers(architecture, layers)
    if architecture.groups:
        kept = list(range(architecture.blocks))
    rest = {name: part for name, part in trunk.items() if not name.startswith("layer_")}
    blocks = {f"layer_{new}": trunk[f"layer_{old}"] for new, old in enumerate(kept)}
    return {**rest, **blocks}


def _choose_layers(architecture: Architecture, layers: int) -> list[int]:
    return [(number + 1) * architecture.layers // layers - 1 for number in range(layers)]
