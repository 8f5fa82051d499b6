"""Distillation methods by name."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from lelp_jax.errors import unknown_name
from lelp_jax.methods import (
    agglomerative,
    kd,
    kmeans,
    labels,
    lelp,
    oracle,
    random_split,
    soft_kmeans,
    tsne_kmeans,
)
from lelp_jax.methods.base import Method

METHODS: Mapping[str, Method] = {
    "labels": labels.METHOD,
    "kd": kd.METHOD,
    "lelp": lelp.METHOD,
    "soft_kmeans": soft_kmeans.METHOD,
    "kmeans": kmeans.METHOD,
    "agglomerative": agglomerative.METHOD,
    "tsne_kmeans": tsne_kmeans.METHOD,
    "oracle": oracle.METHOD,
    "random_split": random_split.METHOD,
}


def find(name: str) -> Method:
    """Returns a method.

    Raises:
        UserError: There is none of that name.
    """
    if name not in METHODS:
        raise unknown_name("method config.methods", name, METHODS)
    return METHODS[name]


def default_config(*names: str, trials: int) -> ConfigDict:
    """Returns the section `config.methods`: every setting of the methods, as a tuple to try.

    Args:
        *names: The methods compared.
        trials: How many settings each of them may try; 0 leaves a method out.
    """
    return ConfigDict(
        {
            name: {
                "trials": trials,
                **{key: setting.default for key, setting in find(name).settings.items()},
            }
            for name in names
        }
    )
