"""Table 2 of the LELP paper (arXiv 2409.20449) in one launch, with a report per column.

    python -m lelp_jax.main --config=experiments/table2_text.py
    python -m lelp_jax.main --config=experiments/table2_text.py:minilm

The first line is the paper's grid. ALBERT-Large teaches ALBERT-Base on IMDB, CoLA and SST-2; ALBERT-XXL
teaches it on Amazon reviews in 2 and 5 classes and on Sentiment140; on the Amazon reviews it also
teaches an MLP on embeddings of a frozen encoder. The grid needs accelerators and days, and we have not
run it. It differs from the paper in three points: the frozen encoder is all-MiniLM-L6-v2 instead of the
11-billion T5, the Amazon reviews are those on the Hugging Face hub, and learning rates and lengths of
training are ours, as the paper's are not public. The second line uses all-MiniLM-L6-v2 for every teacher
and a bag of word embeddings for every student, which takes one GPU a day.

For a single column use --config=configs/NAME.py, or remove the others from --config.sweep.cases.
"""

from ml_collections import ConfigDict

from configs import amazon_5class, amazon_polarity, cola, imdb, sentiment140, sst2
from lelp_jax import methods, presets

_BASELINES = (
    "labels",
    "kd",
    "dkd",
    "embedding_mse",
    "fitnet",
    "vid",
    "rkd",
    "crd",
    "subclass_distillation",
    "lelp",
    "soft_kmeans",
    "random_split",
)


def get_config(argument: str = "") -> ConfigDict:
    if argument not in ("", "minilm"):
        raise ValueError(f"unknown argument {argument!r}; known: minilm")
    small = bool(argument)
    large, xxl = ("", "") if small else ("albert_large", "albert_xxl")
    columns = {
        "imdb": imdb.get_config(large),
        "cola": cola.get_config(large),
        "sst2": sst2.get_config(large),
        "amazon_polarity": amazon_polarity.get_config(xxl),
        "amazon_5class": amazon_5class.get_config(xxl),
        "sentiment140": sentiment140.get_config(xxl),
    }
    if not small:
        for name, module in (
            ("amazon_polarity_mlp", amazon_polarity),
            ("amazon_5class_mlp", amazon_5class),
        ):
            columns[name] = module.get_config(xxl)
            columns[name].student = presets.build_embedding_student(epochs=5)
    for column in columns.values():
        rates = column.methods.kd.learning_rate
        column.methods = methods.default_config(*_BASELINES, trials=4)
        for name in _BASELINES:
            column.methods[name].learning_rate = rates
    config = ConfigDict({**columns["sst2"]})
    config.replicates = 3
    config.sweep = ConfigDict(
        {
            "key": "task",
            "cases": {
                name: {
                    key: column[key] for key in ("data", "teacher", "student", "methods", "report")
                }
                for name, column in columns.items()
            },
        }
    )
    return config
