"""A whole comparison of methods, and its training time beside a bare PyTorch loop.

    make bench-compare

Runs experiments/digits_baselines.py from nothing, its compilation cache included. The training time
of the students of logit and pseudo-subclass methods, as their results say it, is set against as
many runs of a hand-written PyTorch loop that distils class probabilities and nothing more: half of
its rounds are measured before the comparison and half after it, and the median is multiplied.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks import machine
from benchmarks.bare_loops import STEPS, TorchLoop, make_work
from benchmarks.fleet import time_call
from lelp_jax.methods import METHODS

ROUNDS = 5
# What this benchmark is to show.
MOST_MINUTES, LEAST_METHODS, LEAST_RATIO = 15.0, 20, 8.0


def loops() -> dict[str, TorchLoop]:
    """Returns the contenders: threads and kinds of AdamW."""
    work = make_work()
    classes = dataclasses.replace(work, targets=work.targets.sum(axis=2))
    return {
        f"{threads} thread(s){', fused AdamW' if fused else ''}": TorchLoop(
            classes, threads, fused=fused
        )
        for fused in (False, True)
        for threads in sorted({1, torch.get_num_threads()})
    }


def measure(contenders: dict[str, TorchLoop], taken: dict[str, list[float]]) -> None:
    """Adds some rounds of every loop, in turns."""
    for _ in range(ROUNDS):
        for name, loop in contenders.items():
            taken.setdefault(name, []).append(time_call(loop.train))


def compare(folder: Path) -> tuple[float, list[dict]]:
    """Runs the comparison; returns its seconds and its result lines."""
    command = [sys.executable, "-m", "lelp_jax.main"]
    command += ["--config=experiments/digits_baselines.py", f"--workdir={folder}/run"]
    environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
    start = time.perf_counter()
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL)
    taken = time.perf_counter() - start
    if result.returncode:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}")
    lines = (folder / "run" / "results.jsonl").read_text().splitlines()
    return taken, [json.loads(line) for line in lines]


def is_light(name: str) -> bool:
    """Returns whether a method learns from logits or pseudo-subclasses alone."""
    method = METHODS[name]
    return method.uses_teacher and not method.uses_embedding


def main() -> None:
    """Measures and prints."""
    print(machine.describe("jax", "jaxlib", "torch", "numpy"))
    contenders = loops()
    taken: dict[str, list[float]] = {}
    measure(contenders, taken)
    with tempfile.TemporaryDirectory() as folder:
        wall, lines = compare(Path(folder))
    measure(contenders, taken)
    trained = [line for line in lines if line["status"] in ("ok", "diverged")]
    light = [line for line in trained if is_light(line["method"])]
    steps = {line["steps"] for line in trained}
    assert steps == {STEPS}, f"students train for {steps} steps, the loop for {STEPS}"

    rows = [["bare PyTorch loop", "ms per student"]]
    rows += [[n, machine.spread([1e3 * value for value in v], 0)] for n, v in taken.items()]
    print(machine.table(rows) + "\n")
    rows = [["method", "students", "ms per student"]]
    for name in dict.fromkeys(line["method"] for line in trained):
        own = [line["train_seconds"] for line in trained if line["method"] == name]
        rows.append([name, str(len(own)), f"{1e3 * statistics.mean(own):.1f}"])
    print(machine.table(rows) + "\n")

    methods = {line["method"] for line in lines}
    best = min(statistics.median(values) for values in taken.values())
    ours = sum(line["train_seconds"] for line in light)
    ratio = best * len(light) / ours
    print(
        f"{len(methods)} methods, {len(trained)} students in {wall / 60:.1f} minutes (goal: at "
        f"least {LEAST_METHODS} methods in under {MOST_MINUTES:g}; "
        f"{_met(len(methods) >= LEAST_METHODS and wall < 60 * MOST_MINUTES)})"
    )
    print(
        f"{len(light)} students of logit and pseudo-subclass methods: {ours:.0f} s of training; "
        f"as many runs of the best loop: {best * len(light):.0f} s, {ratio:.1f} times as long "
        f"(goal: at least {LEAST_RATIO:g}; {_met(ratio >= LEAST_RATIO)})"
    )


def _met(reached: bool) -> str:
    return "met" if reached else "MISSED"


if __name__ == "__main__":
    main()
