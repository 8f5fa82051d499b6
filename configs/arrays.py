"""Your own arrays: features or embeddings saved with numpy.savez.

    python -m lelp_jax.main --config=configs/arrays.py --config.data.train=train.npz
    python -m lelp_jax.main --config=configs/arrays.py:quick --config.data.train=train.npz

If you have separate test rows, add --config.data.test=test.npz.

A file holds `inputs` [rows, features...] and `labels` [rows]: numbers 0, 1, ... or names. Training
rows without a label (-1 or "") are used too: students learn the teacher's predictions for them. If -1
is a class, set --config.data.unlabelled= (or to what marks rows without a label). If the file holds
`fine_labels` [rows], you can add the method "oracle" below.

Each feature is brought to mean 0 and variance 1 over the training rows, in float64. One that is
constant there, or varies a million times less than the others, is set to 0; the log names it.
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
    config.replicates = 2 if quick else 5

    config.data = ConfigDict()
    config.data.source = "arrays"
    config.data.train = ""  # an .npz file
    config.data.validation = ""  # "": split off the training rows
    config.data.test = ""  # "": split off the training rows
    config.data.num_classes = 0  # 0: as many as in the training rows
    config.data.unlabelled = "auto"  # label of rows without one; "auto": -1, if it is rare
    config.data.split = (0.6, 0.2, 0.2)  # shares, for splits without a file
    config.data.split_seed = 0
    config.data.transfer_size = 0  # training rows that a student sees; 0: all
    config.data.labelled_rows = 0  # training rows that keep their label; 0: all

    config.teacher = ConfigDict()
    config.teacher.source = "network"  # trained here; for another one see configs/own_teacher.py
    config.teacher.count = 2 if quick else 3  # replicate r learns from teacher r mod count
    config.teacher.model = ConfigDict({"name": "mlp", "hidden": (256, 256), "dropout": 0.1})
    config.teacher.learning_rate = 1e-3
    config.teacher.weight_decay = 1e-4
    config.teacher.train = build_training(steps=100 if quick else 2000, batch_size=64)

    # How the teachers' outputs are stored; root: a folder or gs:// address, "": the workdir.
    config.bank = ConfigDict({"dtype": "float32", "root": ""})

    config.student = ConfigDict()
    config.student.model = ConfigDict({"name": "mlp", "hidden": (16,), "dropout": 0.0})
    config.student.train = build_training(steps=100 if quick else 2000, batch_size=64)
    config.student.input_noise = (
        0.0  # standard deviation of noise added to the inputs in every step
    )
    config.student.teacher_outputs = "bank"  # "online": the teacher sees the noisy inputs too

    # Each hyperparameter is a tuple of values to try; `trials` combinations are drawn.
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=2 if quick else 8
    )
    # Fit in the classes that the teacher predicts, so that rows without a label are used.
    for name in ("lelp", "soft_kmeans"):
        config.methods[name].membership = ("teacher",)

    config.report = ConfigDict()
    config.report.baseline = "kd"
    config.report.selection_metric = "accuracy"  # on validation rows; "matthews" for rare classes
    config.report.confidence = 0.95

    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
