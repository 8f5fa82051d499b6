"""Digits with a teacher whose answer to a fifth of the images is flipped: which correction helps.

python experiments/teacher_errors.py    # writes teacher_0.npz to teacher_7.npz
python -m lelp_jax.main --config=experiments/teacher_errors.py
"""

from ml_collections import ConfigDict

from configs import digits
from lelp_jax import methods

TEACHERS = 8
FLIPPED = 0.2


def get_config() -> ConfigDict:
    config = digits.get_config()
    config.replicates = 8
    config.data.transfer_size = 0
    # Wide enough to learn the flipped answers by heart.
    config.student.model.hidden = (128,)
    config.teacher = ConfigDict({"source": "arrays"})
    config.teacher.files = tuple(f"teacher_{number}.npz" for number in range(TEACHERS))
    config.methods = methods.default_config(
        *(
            f"{name}{correction}"
            for name in ("kd", "lelp", "soft_kmeans")
            for correction in ("", "_slam", "_weighted")
        ),
        trials=3,
    )
    config.sweep = ConfigDict({"key": "student.train.steps", "values": (1500, 5000)})
    return config


def write_teachers() -> None:
    """Writes teachers of scikit-learn that err at random, on validation and test rows, too."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    from lelp_jax import data
    from lelp_jax.data.sources.digits import Digits
    from lelp_jax.data.split import Split

    dataset = data.load(Digits(), Split((0.6, 0.2, 0.2), 0))
    rows = len(dataset.labels)
    for number in range(TEACHERS):
        network = MLPClassifier((64, 32), max_iter=500, random_state=number)
        network.fit(dataset.inputs[dataset.train], dataset.labels[dataset.train])
        hidden = dataset.inputs
        for weights, bias in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
            hidden = np.maximum(hidden @ weights + bias, 0)
        logits = hidden @ network.coefs_[-1] + network.intercepts_[-1]
        flip = np.random.default_rng(number).permutation(rows) < FLIPPED * rows
        logits[flip] *= -1
        np.savez(
            f"teacher_{number}.npz",
            embeddings=hidden,
            logits=logits,
            output_weights=network.coefs_[-1],
        )


if __name__ == "__main__":
    write_teachers()
