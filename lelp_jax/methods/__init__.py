"""Distillation methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.methods import (
    cka,
    crd,
    dist,
    dkd,
    embedding_regression,
    fitnet,
    kd,
    labels,
    lelp_dist,
    lelp_standardized,
    logit_standardization,
    nkd,
    rkd,
    simkd,
    slam,
    splits,
    subclass_distillation,
    ttm,
    vid,
    weighted,
)
from lelp_jax.methods.base import Method

METHODS: Mapping[str, Method] = {
    "labels": labels.METHOD,
    "kd": kd.METHOD,
    "dkd": dkd.METHOD,
    "ttm": ttm.TTM,
    "wttm": ttm.WTTM,
    "nkd": nkd.METHOD,
    "dist": dist.METHOD,
    "logit_standardization": logit_standardization.METHOD,
    "embedding_mse": embedding_regression.MSE,
    "embedding_cosine": embedding_regression.COSINE,
    "fitnet": fitnet.METHOD,
    "vid": vid.METHOD,
    "rkd": rkd.METHOD,
    "crd": crd.METHOD,
    "cka": cka.METHOD,
    "simkd": simkd.METHOD,
    "subclass_distillation": subclass_distillation.SUBCLASS_DISTILLATION,
    "subclass_matched": subclass_distillation.SUBCLASS_MATCHED,
    "lelp": splits.LELP,
    "lelp_dist": lelp_dist.METHOD,
    "lelp_standardized": lelp_standardized.METHOD,
    "lelp_ensemble": splits.LELP_ENSEMBLE,
    "lelp_unrotated": splits.LELP_UNROTATED,
    "pca": splits.PCA,
    "random_projection": splits.RANDOM_PROJECTION,
    "soft_kmeans": splits.SOFT_KMEANS,
    "kmeans": splits.KMEANS,
    "agglomerative": splits.AGGLOMERATIVE,
    "tsne_kmeans": splits.TSNE_KMEANS,
    "oracle": splits.ORACLE,
    "random_split": splits.RANDOM_SPLIT,
}


# Corrections for a teacher that errs. Each makes another method of one that it is defined for: its
# name ends in that of the correction, as in "kd_slam" and "lelp_weighted".
CORRECTIONS: Mapping[str, Callable[[Method], Method]] = {
    "slam": slam.correct,
    "weighted": weighted.correct,
}


def list_names() -> list[str]:
    """Lists the names of all methods, each followed by its corrected forms."""
    return [
        f"{name}{ending}"
        for name, method in METHODS.items()
        for ending in ("", *(f"_{each}" for each in CORRECTIONS if method.corrigible))
    ]


def find(name: str) -> Method:
    """Looks up a method, or corrects one.

    Raises:
        UserError: There is none of that name.
    """
    if name in METHODS:
        return METHODS[name]
    plain, _, correction = name.rpartition("_")
    if plain in METHODS and correction in CORRECTIONS:
        if METHODS[plain].corrigible:
            return CORRECTIONS[correction](METHODS[plain])
        raise UserError(
            f"method config.methods.{name}: the correction {correction!r} is not defined for "
            f"{plain!r}, whose loss is no cross-entropy with the teacher's class probabilities; "
            "correct 'kd' or 'lelp'"
        )
    raise make_unknown_name_error("method config.methods", name, METHODS)


def default_config(*names: str, trials: int) -> ConfigDict:
    """Builds the section `config.methods`: every hyperparameter of the methods, as a tuple to try.

    Args:
        *names: The methods compared.
        trials: How many combinations of hyperparameters each of them may try; 0 leaves a method
            out.
    """
    return ConfigDict(
        {
            name: {
                "trials": trials,
                **{key: entry.default for key, entry in find(name).search_space.items()},
            }
            for name in names
        }
    )
