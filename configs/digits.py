"""Handwritten digits, even or odd: what pseudo-subclasses add to plain distillation.

    python -m lelp_jax.main --config=configs/digits.py
    python -m lelp_jax.main --config=configs/digits.py:quick   # every stage, small

With two classes the teacher's probabilities say little; which digit it is shows in its embedding
only. Students see 100 images, drawn anew for every replicate.

Takes about a minute on 2 CPU cores. Test accuracy there, in percent: soft_kmeans 97.3, oracle 95.3,
lelp 94.7, kd 94.5, labels 92.5, random_split 90.4; teachers 98.4. Logistic regression: 89.1.
"""

from ml_collections import ConfigDict

from lelp_jax import methods
from lelp_jax.presets import build_training


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "quick"):
        raise ValueError(f"unknown argument {mode!r}; known: quick")
    quick = mode == "quick"
    config = ConfigDict()
    config.seed = 0
    config.replicates = 2 if quick else 16

    config.data = ConfigDict()
    config.data.source = "digits"
    config.data.split = (0.6, 0.2, 0.2)  # training, validation, test
    config.data.split_seed = 0
    config.data.transfer_size = 100  # training rows that a student sees; 0: all
    config.data.labelled_rows = 0  # training rows that keep their label; 0: all

    config.teacher = ConfigDict()
    config.teacher.source = "network"  # trained here; for another one see configs/own_teacher.py
    config.teacher.count = 2 if quick else 4  # replicate r learns from teacher r mod count
    config.teacher.model = ConfigDict({"name": "mlp", "hidden": (512, 512), "dropout": 0.0})
    config.teacher.learning_rate = 1e-3
    config.teacher.weight_decay = 1e-4
    config.teacher.train = build_training(steps=100 if quick else 1000, batch_size=128)

    # How the teachers' outputs are stored; root: a folder or gs:// address, "": the workdir.
    config.bank = ConfigDict({"dtype": "float32", "root": ""})

    config.student = ConfigDict()
    config.student.model = ConfigDict({"name": "mlp", "hidden": (32,), "dropout": 0.0})
    config.student.train = build_training(steps=200 if quick else 1500, batch_size=64)
    config.student.input_noise = (
        0.0  # standard deviation of noise added to the inputs in every step
    )
    config.student.teacher_outputs = "bank"  # "online": the teacher sees the noisy inputs too

    # Each hyperparameter is a tuple of values to try; `trials` combinations are drawn.
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "oracle", "random_split", trials=2 if quick else 8
    )

    config.report = ConfigDict()
    config.report.baseline = "kd"
    config.report.selection_metric = "accuracy"  # on validation rows
    config.report.confidence = 0.95

    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
