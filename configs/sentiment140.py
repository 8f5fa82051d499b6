"""Sentiment140: is a tweet positive or negative? (Go, Bhayani and Huang, 2009).

    python -m lelp_jax.main --config=configs/sentiment140.py
    python -m lelp_jax.main --config=configs/sentiment140.py:albert_xxl

1.6 million training tweets from TFDS, labelled by their emoticons, and the 359 of its 498 test tweets,
labelled by hand, that are not neutral. The second line is the setup of the LELP paper (arXiv
2409.20449), in which ALBERT-XXL teaches ALBERT-Base. Both need an accelerator.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "albert_xxl"):
        raise ValueError(f"unknown argument {argument!r}; known: albert_xxl")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 3

    config.data = presets.build_tfds("sentiment140", max_length=64)
    config.data.split = (0.98, 0.01, 0.01)  # 1 % of the training rows for validation

    config.teacher = presets.build_encoder_teacher(presets.MINILM, epochs=1, count=1)
    config.bank = presets.build_bank("bfloat16")
    config.student = presets.build_text_student(epochs=2, batch_size=256)
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=4
    )
    if argument:
        presets.use_albert(config, "albert/albert-xxlarge-v2")

    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
