"""Your own texts: a row per example, with a column of texts and one of labels.

    python -m lelp_jax.main --config=configs/files.py --config.data.train=train.parquet --config.data.test=test.parquet
    python -m lelp_jax.main --config=configs/files.py:quick --config.data.train=train.parquet

Files end in .csv, .tsv, .jsonl or .parquet. Labels are numbers 0, 1, ... or names. Rows without a
label (empty or -1) are used too: students learn the teacher's predictions for them. Options:

    --config.data.text=review --config.data.label=stars --config.data.fine_label=topic
    --config.data.validation=dev.parquet                    by default a stratified split of the training rows
    --config.data.unlabelled=?                              marks rows without a label in place of -1; "": nothing does
    --config.data.class_map=0,0,1,1                         merges classes and keeps the label as fine label
    --config.teacher.checkpoint=DIR                         any BERT-like Hugging Face checkpoint
    --config.teacher.train.class_weights=balanced           for rare classes, with
    --config.report.selection_metric=matthews

The teacher is all-MiniLM-L6-v2 (22 million parameters), fine-tuned; on 2 CPU cores that takes two to
three minutes per epoch of 10,000 short texts. The students are bags of word embeddings.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(mode: str = "") -> ConfigDict:
    if mode not in ("", "quick"):
        raise ValueError(f"unknown argument {mode!r}; known: quick")
    quick = mode == "quick"
    config = ConfigDict()
    config.seed = 0
    config.replicates = 2 if quick else 6

    config.data = presets.build_text_files(max_length=128)

    epochs, count = (1, 1) if quick else (3, 3)
    config.teacher = presets.build_encoder_teacher(presets.MINILM, epochs=epochs, count=count)
    config.bank = presets.build_bank()
    config.student = presets.build_text_student(epochs=2 if quick else 10)

    # Each hyperparameter is a tuple of values to try; `trials` combinations are drawn.
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=2 if quick else 8
    )
    # Fit in the classes that the teacher predicts, so that rows without a label are used.
    for name in ("lelp", "soft_kmeans"):
        config.methods[name].membership = ("teacher",)

    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
