"""Your own table: a row per example, feature columns and a label column.

    python -m lelp_jax.main --config=configs/table.py --config.data.train=train.csv
    python -m lelp_jax.main --config=configs/table.py:quick --config.data.train=train.csv

Options: --config.data.test=test.csv --config.data.label=spam --config.data.columns=x,y.

Features are columns of numbers, booleans, dates (ISO 8601), texts that stand for categories, and
lists of equally many numbers, such as an embedding in a Parquet file. What becomes of them is learnt
from the training rows:

- Numbers, and dates in seconds, are brought to mean 0 and variance 1. A missing one is replaced by
  the median, and a feature of its own says that it was missing.
- Texts become one feature per text that training rows hold; of more than 100, hashes of the texts
  share 128 features. A text that is new in a later row is none of the known ones, with a warning.
- The index of a data frame, columns without a name, and texts that hardly repeat are left out,
  unless they are named in config.data.columns; the log says which columns are used.

An exported student takes the same columns by name: `student.class_logits({"x": [1.5], "y": [2]})`,
or a data frame.

Files end in .csv, .tsv, .jsonl or .parquet. Labels are numbers 0, 1, ... or names. Training rows
without a label (empty or -1) are used too: students learn the teacher's predictions for them. If -1
is a class, set --config.data.unlabelled= (or to what marks rows without a label).
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
    config.data.source = "table"
    config.data.train = ""  # a .csv, .tsv, .jsonl or .parquet file
    config.data.validation = ""  # "": split off the training rows
    config.data.test = ""  # "": split off the training rows
    config.data.columns = ()  # feature columns; (): all that can be features
    config.data.label = "label"
    config.data.fine_label = ""  # column of finer classes, for the method "oracle"
    config.data.id = ""  # column with row ids, to join a teacher's outputs
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
