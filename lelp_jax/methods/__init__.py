"""Distillation methods by name."""

from __future__ import annotations

from collections.abc import Mapping

from ml_collections import ConfigDict

from lelp_jax.core.errors import unknown_name
from lelp_jax.methods import (
    agglomerative,
    cka,
    crd,
    dist,
    dkd,
    embedding_cosine,
    embedding_mse,
    fitnet,
    kd,
    kmeans,
    labels,
    lelp,
    lelp_dist,
    lelp_ensemble,
    lelp_standardized,
    lelp_unrotated,
    logit_standardization,
    nkd,
    oracle,
    pca,
    random_projection,
    random_split,
    rkd,
    simkd,
    soft_kmeans,
    subclass_distillation,
    subclass_matched,
    tsne_kmeans,
    ttm,
    vid,
    wttm,
)
from lelp_jax.methods.base import Method

METHODS: Mapping[str, Method] = {
    "labels": labels.METHOD,
    "kd": kd.METHOD,
    "dkd": dkd.METHOD,
    "ttm": ttm.METHOD,
    "wttm": wttm.METHOD,
    "nkd": nkd.METHOD,
    "dist": dist.METHOD,
    "logit_standardization": logit_standardization.METHOD,
    "embedding_mse": embedding_mse.METHOD,
    "embedding_cosine": embedding_cosine.METHOD,
    "fitnet": fitnet.METHOD,
    "vid": vid.METHOD,
    "rkd": rkd.METHOD,
    "crd": crd.METHOD,
    "cka": cka.METHOD,
    "simkd": simkd.METHOD,
    "subclass_distillation": subclass_distillation.METHOD,
    "subclass_matched": subclass_matched.METHOD,
    "lelp": lelp.METHOD,
    "lelp_dist": lelp_dist.METHOD,
    "lelp_standardized": lelp_standardized.METHOD,
    "lelp_ensemble": lelp_ensemble.METHOD,
    "lelp_unrotated": lelp_unrotated.METHOD,
    "pca": pca.METHOD,
    "random_projection": random_projection.METHOD,
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
