"""Students of texts: all methods for a bag of embeddings, the main ones for a small transformer.

    python -m lelp_jax.main --config=experiments/text_students.py:bag --config.data.train=train.parquet --config.data.test=test.parquet
    python -m lelp_jax.main --config=experiments/text_students.py:transformer --config.data.train=train.parquet --config.data.test=test.parquet

Files with columns text, label and, for the method `oracle`, fine_label; where the data have validation
rows, add --config.data.validation=dev.parquet. Three fine-tuned MiniLM teachers, as in configs/sst2.py:files.
With the same --workdir the second line, and configs/sst2.py:files, take the teachers of the first.
"""

from ml_collections import ConfigDict

from lelp_jax import config_sections, methods

_MAIN = ("labels", "kd", "lelp", "soft_kmeans")


def get_config(student: str) -> ConfigDict:
    if student not in ("bag", "transformer"):
        raise ValueError(f"unknown argument {student!r}; known: bag, transformer")
    config = ConfigDict()
    config.seed = 0
    config.replicates = 6

    config.data = config_sections.text_files(max_length=64)
    config.teacher = config_sections.encoder_teacher(config_sections.MINILM, epochs=3, count=3)
    config.bank = config_sections.bank()

    if student == "bag":
        config.student = config_sections.text_student(epochs=8)
        config.methods = methods.default_config(*methods.METHODS, trials=4)
        rates = (1e-3, 3e-3, 1e-2)
        # It fine-tunes three teachers of its own for each number of subclasses.
        config.methods.subclass_distillation.trials = 0
    else:
        config.student = config_sections.text_student(epochs=6, batch_size=32)
        config_sections.small_transformer(config.student)
        config.student.train.optimizer.warmup_fraction = 0.1
        config.student.train.optimizer.clip_norm = 1.0
        config.methods = methods.default_config(*_MAIN, trials=3)
        rates = (3e-4, 1e-3)
    for name in config.methods:
        config.methods[name].learning_rate = rates
        if "temperature" in config.methods[name]:
            # In a training this short the logits do not grow to what higher ones ask for.
            config.methods[name].temperature = (1.0, 2.0, 4.0)

    config.report = config_sections.report()
    config.checkpoint = ConfigDict({"every_seconds": 60.0})
    return config
