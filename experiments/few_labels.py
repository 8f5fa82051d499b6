"""Digits with few labels: what students learn from the answers of a teacher that errs.

    python -m lelp_jax.main --config=experiments/few_labels.py

Of the 1,077 training images, the teacher knows the labels of 50 to 400, and answers all of them for its
students, who know no other label either. Each of the 8 replicates has its own teacher with its own labelled
images. Networks are those of configs/digits.py.
"""

from ml_collections import ConfigDict

from configs import digits
from lelp_jax import methods


def get_config(mode: str = "") -> ConfigDict:
    config = digits.get_config(mode)
    quick = mode == "quick"
    config.replicates = config.teacher.count = 2 if quick else 8
    config.data.transfer_size = 0
    # All of the smallest number of labels fit.
    config.teacher.train.batch_size = 32

    # `oracle` would need the fine labels of all images.
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=2 if quick else 8
    )
    for name in ("lelp", "soft_kmeans"):
        # The classes of most images are known from the teacher alone.
        config.methods[name].membership = ("teacher",)

    config.sweep = ConfigDict({"key": "data.labelled_rows", "values": (50, 100, 200, 400)})
    return config
