"""What networks see of the rows of a data set, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lelp_jax.core import sections
from lelp_jax.core.errors import unknown_name
from lelp_jax.inputs import embeddings, features, text_encoding, tokens, words
from lelp_jax.inputs.base import Encoding as Encoding
from lelp_jax.inputs.base import Inputs as Inputs
from lelp_jax.inputs.base import View as View

VIEWS: Mapping[str, type] = {
    "features": features.Features,
    "tokens": tokens.Tokens,
    "words": words.Words,
    "embeddings": embeddings.TextEmbeddings,
}
ENCODINGS: Mapping[str, Any] = {
    encoding.kind: encoding
    for encoding in (
        features.FeatureEncoding,
        text_encoding.TextEncoding,
        embeddings.EmbeddingEncoding,
    )
}


def build(settings: Mapping[str, Any], place: str) -> View:
    """Builds a view.

    Args:
        settings: Its name under "name", and its other settings.
        place: Where they are set, for messages ("config.student.inputs").

    Raises:
        UserError: The name or a setting is unknown, or a value is out of range.
    """
    values = dict(settings)
    name = values.pop("name", "")
    if name not in VIEWS:
        raise unknown_name(f"inputs {place}.name", name, VIEWS)
    view: View = sections.build(VIEWS[name], values, place)
    return view
