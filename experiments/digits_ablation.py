"""What the parts of LELP and of soft k-means do on digits parity.

    python -m lelp_jax.main --config=experiments/digits_ablation.py:toggles
    python -m lelp_jax.main --config=experiments/digits_ablation.py:sensitivity
    python -m lelp_jax.main --config=experiments/digits_ablation.py:components
    python -m lelp_jax.main --config=experiments/digits_ablation.py:rows
    python -m lelp_jax.main --config=experiments/digits_ablation.py:size
    python -m lelp_jax.main --config=experiments/digits_ablation.py:classes

The data, networks and 8 replicates of digits_baselines.py. The first four try all combinations of
what they vary at one learning rate; the heat maps in report/ show mean validation accuracy for
pairs of settings. The last two sweep the data; the curves in report/ show test accuracy.
"""

from ml_collections import ConfigDict

from experiments import digits_baselines
from lelp_jax import methods

# Enough for every combination of the values below.
_ALL = 1000
_LIGHT = ("labels", "kd", "lelp", "lelp_unrotated", "soft_kmeans", "oracle", "random_split")


def get_config(part: str) -> ConfigDict:
    parts = {
        "toggles": _toggles,
        "sensitivity": _sensitivity,
        "components": _components,
        "rows": _rows,
        "size": _size,
        "classes": _classes,
    }
    if part not in parts:
        raise ValueError(f"unknown part {part!r}; known: {', '.join(parts)}")
    config = digits_baselines.get_config()
    parts[part](config)
    return config


def _crossed(config: ConfigDict, *names: str) -> None:
    """Compares methods over all combinations of a few values, at one learning rate."""
    config.methods = methods.default_config(*names, trials=_ALL)
    for name in names:
        config.methods[name].learning_rate = (3e-3,)


def _toggles(config: ConfigDict) -> None:
    _crossed(config, "kd", "lelp")
    lelp = config.methods.lelp
    for name in ("null_space", "rotate", "center", "standardize"):
        lelp[name] = (True, False)
    lelp.temperature = (4.0,)
    # Without standardisation the scores have the scale of the embedding.
    lelp.beta = (0.25, 0.5, 1.0, 2.0)


def _sensitivity(config: ConfigDict) -> None:
    _crossed(config, "kd", "lelp", "lelp_unrotated", "soft_kmeans")
    for name in ("lelp", "lelp_unrotated", "soft_kmeans"):
        config.methods[name].num_subclasses = (2, 5, 10, 20)
        config.methods[name].beta = (0.1, 0.25, 0.5, 1.0, 2.0)
        config.methods[name].temperature = (1.0, 2.0, 4.0, 8.0)


def _components(config: ConfigDict) -> None:
    _crossed(config, "kd", "soft_kmeans")
    soft_kmeans = config.methods.soft_kmeans
    soft_kmeans.num_components = (5, 10, 20, 50)
    soft_kmeans.null_space = (True, False)
    soft_kmeans.temperature = (4.0,)
    soft_kmeans.beta = (0.25, 0.5, 1.0)


def _rows(config: ConfigDict) -> None:
    splitters = ("lelp", "soft_kmeans", "kmeans")
    _crossed(config, "kd", *splitters)
    for name in splitters:
        config.methods[name].membership = ("label", "teacher")
        config.methods[name].fit_on = ("train", "transfer")
        config.methods[name].temperature = (4.0,)
    # A class has 50 of the rows that a student sees.
    config.methods.lelp.num_subclasses = (5, 10)


def _size(config: ConfigDict) -> None:
    config.methods = methods.default_config(*_LIGHT, trials=8)
    config.student.train.batch_size = 32
    config.sweep = ConfigDict({"key": "data.transfer_size", "values": (50, 100, 200, 400, 1077)})


def _classes(config: ConfigDict) -> None:
    config.methods = methods.default_config(
        *_LIGHT, "dkd", "dist", "logit_standardization", trials=8
    )
    config.data.classes = 2
    config.sweep = ConfigDict({"key": "data.classes", "values": (2, 5, 10)})
