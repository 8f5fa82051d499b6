"""Your own texts: a row per example, with a column of texts and one of labels.

    python -m lelp_jax.main --config=configs/files.py --config.data.train=train.parquet --config.data.test=test.parquet
    python -m lelp_jax.main --config=configs/files.py:quick --config.data.train=train.parquet

Files end in .csv, .tsv, .jsonl or .parquet. Labels are numbers 0, 1, ... or names; rows without a
label (empty or -1) help the students: the teacher answers for them. Where needed, add

    --config.data.text=review --config.data.label=stars --config.data.fine_label=topic
    --config.data.validation=dev.parquet                    otherwise split off, stratified
    --config.data.class_map=0,0,1,1                         merges classes; the label stays as fine label
    --config.teacher.checkpoint=DIR                         any BERT-like Hugging Face checkpoint
    --config.teacher.train.class_weights=balanced           for rare classes, with
    --config.report.selection_metric=matthews

The teacher is fine-tuned from all-MiniLM-L6-v2 (22 million parameters), which a laptop can do: two to
three minutes per 10,000 short texts and epoch on 2 CPU cores. The students are bags of embeddings of
words.
"""

from ml_collections import ConfigDict

from lelp_jax import methods
from lelp_jax import presets as config_sections


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "quick"):
        raise ValueError(f"unknown argument {mode!r}; known: quick")
    quick = mode == "quick"
    config = ConfigDict()
    config.seed = 0
    config.replicates = 2 if quick else 6

    config.data = config_sections.text_files(max_length=128)

    epochs, count = (1, 1) if quick else (3, 3)
    config.teacher = config_sections.encoder_teacher(
        config_sections.MINILM, epochs=epochs, count=count
    )
    config.bank = config_sections.bank()
    config.student = config_sections.text_student(epochs=2 if quick else 10)

    # Each setting is a tuple of values to try; `trials` of their combinations are drawn.
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=2 if quick else 8
    )
    # In the teacher's classes, so that rows without a label can be used.
    for name in ("lelp", "soft_kmeans"):
        config.methods[name].membership = ("teacher",)

    config.report = config_sections.report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
