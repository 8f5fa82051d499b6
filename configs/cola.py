"""CoLA: is a sentence acceptable English? (Warstadt et al., arXiv 1805.12471; GLUE).

    python -m lelp_jax.main --config=configs/cola.py
    python -m lelp_jax.main --config=configs/cola.py:albert_large

Of the 8,551 training sentences 70 % are acceptable, so hyperparameters are selected by Matthews'
correlation. GLUE hides the test labels, so its 1,043 validation sentences are the test set. The
second line is the setup of the LELP paper (arXiv 2409.20449), in which ALBERT-Large teaches
ALBERT-Base; it needs an accelerator.
"""

from ml_collections import ConfigDict

from lelp_jax import methods, presets


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "albert_large"):
        raise ValueError(f"unknown argument {argument!r}; known: albert_large")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 6

    config.data = presets.build_tfds("glue/cola", max_length=64)
    config.data.split = (0.8, 0.1, 0.1)  # a tenth of the training rows for validation

    config.teacher = presets.build_encoder_teacher(presets.MINILM, epochs=4, count=3)
    config.teacher.train.early_stopping.metric = "matthews"
    config.bank = presets.build_bank()

    # Word order matters here, and a bag ignores it.
    config.student = presets.build_text_student(epochs=20)
    presets.use_small_transformer(config.student)
    config.methods = methods.default_config(
        "labels", "kd", "lelp", "soft_kmeans", "random_split", trials=8
    )
    if argument:
        presets.use_albert(config, "albert/albert-large-v2")

    config.report = presets.build_report("matthews")
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
