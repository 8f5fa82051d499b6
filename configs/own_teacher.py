"""A teacher trained elsewhere: its outputs, saved by any framework, teach students here.

    python -m lelp_jax.main --config=configs/own_teacher.py --config.data.train=train.npz --config.teacher.files=teacher.npz

The teacher's file holds `embeddings` [rows, dims] and `logits` or `probabilities` [rows, classes] of
every training and validation row and, optionally, `output_weights` [dims, classes]; the data's file
holds `inputs` [rows, features...] and `labels` [rows]. Rows are joined by `ids` [rows] if both files
have them, otherwise by order. The teacher's file may leave out test rows if these have a file of their
own: --config.data.test=test.npz.

For data in a table, combine the `data` section of configs/table.py with this `teacher` section.

Texts, with the answers of any classifier of PyTorch's transformers (docs/own_teacher.md):

    python -m lelp_jax.answer --model=FOLDER --data=train.csv,test.csv --out=teacher.npz
    python -m lelp_jax.main --config=configs/own_teacher.py:texts --config.data.train=train.csv --config.data.test=test.csv --config.teacher.files=teacher.npz
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "quick", "texts", "texts_quick"):
        raise ValueError(f"unknown argument {mode!r}; known: quick, texts, texts_quick")
    quick, of_texts = mode.endswith("quick"), mode.startswith("texts")
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
    if of_texts:
        config.data = presets.build_text_files(max_length=128)

    config.teacher = ConfigDict()
    config.teacher.source = "arrays"
    config.teacher.files = ("",)  # a file, folder or address per teacher
    config.teacher.output_weights = ()  # an .npy file per teacher; (): from its file, or estimated
    config.teacher.id = "ids"  # array with row ids; "": joined by order

    # How the teachers' outputs are stored; root: a folder or gs:// address, "": the workdir.
    config.bank = ConfigDict({"dtype": "float32", "root": ""})

    config.student = ConfigDict()
    config.student.model = ConfigDict({"name": "mlp", "hidden": (16,), "dropout": 0.0})
    config.student.train = presets.build_training(steps=100 if quick else 2000, batch_size=64)
    config.student.input_noise = (
        0.0  # standard deviation of noise added to the inputs in every step
    )
    config.student.teacher_outputs = "bank"  # only the outputs for these rows are known
    if of_texts:
        config.student = presets.build_text_student(epochs=2 if quick else 10)

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
