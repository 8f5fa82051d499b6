"""Which method is best for digits parity? Every method, one protocol.

    python -m lelp_jax.main --config=experiments/digits_baselines.py

The data and the networks of configs/digits.py: students see 100 images, even or odd, and learn from
a teacher of their own replicate, so that the 8 replicates are independent. Every method tries 8 of
its settings, chosen on validation rows.
"""

from ml_collections import ConfigDict

from configs import digits
from lelp_jax import methods


def get_config(mode: str = "") -> ConfigDict:
    config = digits.get_config(mode)
    quick = mode == "quick"
    config.replicates = config.teacher.count = 2 if quick else 8
    config.methods = methods.default_config(*methods.METHODS, trials=2 if quick else 8)
    return config
