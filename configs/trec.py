"""TREC: what does a question ask for? 6 classes, 50 fine labels (Li and Roth, 2002).

    python -m lelp_jax.main --config=configs/trec.py
    python -m lelp_jax.main --config=configs/trec.py:files --config.data.train=train.parquet --config.data.test=test.parquet

5,452 training and 500 test questions. The first line reads them from TFDS, the second from your own
files with columns text, label and fine_label. The second takes about 15 minutes on 2 CPU cores (AMD
EPYC) for three teachers and 288 students. Results: test accuracy in percent, difference to kd [95 %
interval], p-value after Holm's correction.

    teachers      96.13
    labels        86.90  +0.53 [-0.58, +1.65]  1.000
    kd            86.37
    lelp          88.10  +1.73 [+0.13, +3.34]  0.187
    soft_kmeans   86.70  +0.33 [-0.82, +1.49]  1.000
    oracle        85.60  -0.77 [-3.17, +1.63]  1.000
    random_split  85.67  -0.70 [-2.32, +0.92]  1.000
    linear        88.80  +2.43 [+0.21, +4.65]

The intervals are for new students, new teachers and new test questions; no method differs from kd beyond
chance after correction for five. Logistic regression on weighted word counts (`linear`) is better than all
bags of word embeddings. 11 of the 500 test questions are also among the training questions.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "files"):
        raise ValueError(f"unknown argument {argument!r}; known: files")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 6

    if argument == "files":
        config.data = presets.build_text_files(max_length=48)
    else:
        config.data = presets.build_tfds("trec", max_length=48)
        config.data.label = "label-coarse"
        config.data.fine_label = "label-fine"
    config.data.split = (0.8, 0.1, 0.1)  # a tenth of the training rows for validation

    config.teacher = presets.build_encoder_teacher(presets.MINILM, epochs=4, count=3)
    config.bank = presets.build_bank()
    config.student = presets.build_text_student(epochs=12)
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "oracle", "random_split", trials=8
    )
    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
