"""Sentences with few labels: what students learn from the answers of a teacher that errs.

    python -m lelp_jax.main --config=experiments/few_labels_text.py --config.data.train=train.parquet --config.data.validation=dev.parquet --config.data.test=test.parquet

The files have columns text and label. Teachers and students are small networks on the embeddings of
all-MiniLM-L6-v2, which is not trained. The teacher knows the labels of 50 to 400 sentences and answers
all of them for its students, who know no other label either. Each of the 8 replicates has its own teacher with
its own labelled sentences.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0
    config.replicates = 8

    config.data = presets.build_text_files(max_length=64)
    config.student = presets.build_embedding_student(epochs=5)
    config.student.model.hidden = (64,)

    config.teacher = ConfigDict()
    config.teacher.source = "network"
    config.teacher.count = config.replicates
    config.teacher.inputs = config.student.inputs.copy_and_resolve_references()
    config.teacher.model = ConfigDict({"name": "mlp", "hidden": (512,), "dropout": 0.1})
    config.teacher.learning_rate = 1e-3
    config.teacher.weight_decay = 1e-2
    config.teacher.label_smoothing = 0.0
    # All of the smallest number of labels fit.
    config.teacher.train = presets.build_training(steps=300, batch_size=32)
    config.bank = presets.build_bank()

    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=4
    )
    for name in ("lelp", "soft_kmeans"):
        # The classes of most sentences are known from the teacher alone.
        config.methods[name].membership = ("teacher",)

    config.sweep = ConfigDict({"key": "data.labelled_rows", "values": (50, 100, 200, 400)})
    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
