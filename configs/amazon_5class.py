"""Amazon reviews in 5 classes: how many stars does the reviewer give?

    python -m lelp_jax.main --config=configs/amazon_5class.py
    python -m lelp_jax.main --config=configs/amazon_5class.py:albert_xxl

Uses 200,000 reviews from the Hugging Face hub.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "albert_xxl"):
        raise ValueError(f"unknown argument {argument!r}; known: albert_xxl")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 3

    config.data = presets.build_hub(
        "SetFit/amazon_reviews_multi_en", 128, text="text", train_rows=0
    )
    config.data.revision = "refs/convert/parquet"
    config.data.split = (0.96, 0.02, 0.02)

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
