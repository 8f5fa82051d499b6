"""IMDB, the Large Movie Review Dataset: is a review positive or negative? (Maas et al., 2011).

    python -m lelp_jax.main --config=configs/imdb.py
    python -m lelp_jax.main --config=configs/imdb.py:albert_large

25,000 training reviews and as many test reviews from TFDS, 230 words long on average, of which the
first 256 tokens are used. The second line is the setup of the LELP paper (arXiv 2409.20449), in which
ALBERT-Large teaches ALBERT-Base. Both need an accelerator; on a laptop, --config.data.max_length=64 is
quicker.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "albert_large"):
        raise ValueError(f"unknown argument {argument!r}; known: albert_large")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 6

    config.data = presets.build_tfds("imdb_reviews", max_length=256)
    config.data.split = (0.8, 0.1, 0.1)  # a tenth of the training rows for validation

    config.teacher = presets.build_encoder_teacher(presets.MINILM, epochs=2, count=1)
    config.bank = presets.build_bank()
    config.student = presets.build_text_student(epochs=8)
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=8
    )
    if argument:
        presets.use_albert(config, "albert/albert-large-v2")

    config.report = presets.build_report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
