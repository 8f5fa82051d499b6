"""SST-2: is a movie review positive or negative? (Socher et al., 2013; GLUE).

    python -m lelp_jax.main --config=configs/sst2.py
    python -m lelp_jax.main --config=configs/sst2.py:files --config.data.train=train.parquet --config.data.validation=dev.parquet --config.data.test=test.parquet
    python -m lelp_jax.main --config=configs/sst2.py:albert_large
    python -m lelp_jax.main --config=configs/sst2.py:albert_xxl

The first line uses GLUE's 67,349 phrases from TFDS; GLUE hides the test labels, so its 872 validation
sentences are the test set. The second uses your own files with columns text, label and, optionally,
fine_label, such as the 6,920 whole sentences with 872 for validation and 1,821 for test. The others are
the setups of the LELP paper (arXiv 2409.20449), in which a larger ALBERT teaches ALBERT-Base; they need
an accelerator and were not run at full size.

On the whole sentences the second line takes about half an hour on 2 CPU cores (AMD EPYC): 4 to 6
minutes for each of three teachers (all-MiniLM-L6-v2) and 4 minutes for 240 students (bags of word
embeddings). Results: test accuracy in percent, difference to kd [95 % interval], p-value after Holm's
correction.

    teachers      89.05
    labels        81.31  +0.49 [-0.53, +1.50]  0.245
    kd            80.83
    lelp          82.25  +1.43 [+0.52, +2.33]  0.015
    soft_kmeans   82.26  +1.44 [+0.80, +2.07]  <0.001
    random_split  81.84  +1.02 [+0.02, +2.01]  0.094
    majority      49.92
    linear        79.74  -1.09 [-2.59, +0.41]

The same encoder, fine-tuned in PyTorch with the same recipe (one seed), reached 87.2, 86.3 and 89.0
after one, two and three epochs. Trained on GLUE's phrases from a Parquet file, tested on the same 1,821
sentences, with --config.teacher.count=1 --config.teacher.train.epochs=2, the teacher reached 90.12 (one
seed) and PyTorch 89.6 and 90.4 after one and two epochs.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets

_PAPER = {"albert_large": "albert/albert-large-v2", "albert_xxl": "albert/albert-xxlarge-v2"}


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "files", *_PAPER):
        raise ValueError(f"unknown argument {argument!r}; known: files, {', '.join(_PAPER)}")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 6

    if argument == "files":
        config.data = presets.build_text_files(max_length=64)
        config.teacher = presets.build_encoder_teacher(presets.MINILM, epochs=3, count=3)
        config.student = presets.build_text_student(epochs=8)
    else:
        config.data = presets.build_tfds("glue/sst2", max_length=64)
        config.data.split = (0.9, 0.05, 0.05)  # a twentieth of the phrases for validation
        config.teacher = presets.build_encoder_teacher(presets.MINILM, epochs=2, count=1)
        config.student = presets.build_text_student(epochs=3)
    config.bank = presets.build_bank()

    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=8
    )
    if argument in _PAPER:
        presets.use_albert(config, _PAPER[argument])

    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
