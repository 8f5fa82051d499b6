"""What networks see of the rows of a data set, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from lelp_jax.core import sections
from lelp_jax.core.fields import Named
from lelp_jax.inputs import embeddings, features, images, text_encoding, tokens, words
from lelp_jax.inputs.base import Encoding as Encoding
from lelp_jax.inputs.base import Inputs as Inputs
from lelp_jax.inputs.base import View as View

VIEWS: Mapping[str, type] = {
    "features": features.Features,
    "images": images.Images,
    "tokens": tokens.Tokens,
    "words": words.Words,
    "embeddings": embeddings.TextEmbeddings,
}
SECTION = Named("name", VIEWS)
ENCODINGS: Mapping[str, Any] = {
    encoding.kind: encoding
    for encoding in (
        features.FeatureEncoding,
        images.ImageEncoding,
        text_encoding.TextEncoding,
        embeddings.EmbeddingEncoding,
    )
}


def build(settings: Mapping[str, Any], place: str) -> View:
    """Builds a view.

    Args:
        settings: Its name under "name", and its other keys.
        place: The section's name, for messages ("config.student.inputs").

    Raises:
        UserError: The name or a key is unknown, or a value is not allowed.
    """
    view: View = sections.check_value(settings, Annotated[View, SECTION], place)
    return view
