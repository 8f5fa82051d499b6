"""Time per student: fleets of this package beside bare loops of the same work.

    make bench-fleet

The loops are what one would write by hand: in PyTorch one student after another, in PyTorch several
at once (torch.func, compiled by torch.compile where there is a C++ compiler), and in JAX several at
once (lax.scan and optax). They learn from targets that were made before; the fleets compute theirs.

The work is the student of configs/digits.py: an MLP 64-32-20, 1,500 steps of batch 64 over 1,077
rows that lie in memory, soft-target cross-entropy at a temperature, AdamW, cosine schedule. What is
learnt is random, since the time does not depend on it. A run is everything from a new network to
the last step: initialisation, order of examples, training. Compilation is told apart and not saved.

Contenders take turns, and a ratio is taken within each round and then its median over the rounds,
so that other load on the machine falls on both sides.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import torch

from benchmarks import machine
from benchmarks.bare_loops import (
    BATCH,
    CLASSES,
    HIDDEN,
    NUMERIC,
    ROWS,
    STEPS,
    SUBCLASSES,
    JaxLoop,
    TorchFleet,
    TorchLoop,
    Work,
    make_work,
)
from lelp_jax import methods, models
from lelp_jax.core import memory, parallel
from lelp_jax.data import loader
from lelp_jax.train import buckets
from lelp_jax.train.fleet import FleetJob, Member
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import GroupRows, StepSpec

ROUNDS = 15
# Several threads spin for a core that other load holds: a loop that was this many times slower than
# the best one in each of the first rounds is out, or the benchmark would take very long.
HOPELESS, TRIAL_ROUNDS = 2.5, 3
MEMBERS = (1, 8, 32)
# What this benchmark is to show: students per second over those of the best loop of one student
# after another, and a whole run over that of loops that train several students at once, too.
LEAST_SPEED_UP, MOST_OVER_JAX, MOST_OVER_TORCH = 10.0, 1.15, 1.0


class Fleet:
    """A fleet of this package that trains from new students to the last step."""

    def __init__(self, work: Work, members: int):
        """Compiles it and runs it once.

        Args:
            work: What it learns from.
            members: Students that train together.
        """
        method = methods.find("lelp")
        spec = StepSpec(
            model=models.build({"name": "mlp", "hidden": (HIDDEN,)}, CLASSES * SUBCLASSES),
            loss=method.loss,
            readout=method.readout,
            targets=method.targets,
            optimizer=OptimizerConfig(),
            steps=STEPS,
        )
        rows = GroupRows(
            row=np.arange(ROWS, dtype=np.int32),
            label=work.labels,
            weight=np.ones(ROWS, np.float32),
            teacher_logits=work.logits,
            scores=work.scores,
            constants={"column_mask": np.ones((CLASSES, SUBCLASSES), bool)},
        )
        job = FleetJob(
            stage="benchmark",
            spec=spec,
            batch_size=BATCH,
            members=tuple(Member(str(i), NUMERIC, i, i, 0) for i in range(members)),
            rows=jax.tree.map(lambda array: array[None], rows),
            buckets=buckets.keep_whole_rows([ROWS]),
            inputs=work.inputs,
            validation_inputs=work.inputs,
            validation_labels=work.labels,
        )
        self.members = members
        self._runner = Runner(job)
        self.train()
        self.compile_seconds = self._runner.compile_seconds

    def train(self) -> None:
        """Does a whole run, every member with an order of examples of its own."""
        loader._epochs.cache_clear()
        state = self._runner.new_state()
        for first in range(0, STEPS, self._runner.steps):
            state, _ = self._runner.dispatch(state, first)
        jax.block_until_ready(state)


def time_call(function: Callable[[], None]) -> float:
    """Measures how long a call takes, in seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure_students(
    loops: Mapping[str, TorchLoop], fleets: Mapping[str, Fleet | JaxLoop | TorchFleet]
) -> dict[str, list[tuple[float, float]]]:
    """Measures seconds and processor seconds per student, by contender and round.

    See `HOPELESS`.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in (*loops, *fleets)}
    left = dict(loops)
    for number in range(ROUNDS):
        if number == TRIAL_ROUNDS:
            best = min(statistics.median(pick_seconds(taken[name])) for name in loops)
            left = {
                name: loops[name]
                for name in loops
                if min(pick_seconds(taken[name])) < HOPELESS * best
            }
        contenders = [(name, loop.train, 1) for name, loop in left.items()]
        contenders += [(name, fleet_.train, fleet_.members) for name, fleet_ in fleets.items()]
        # Every other round backwards: what slowly changes falls on both ends.
        for name, train, members in contenders[:: -1 if number % 2 else 1]:
            before = time.process_time()
            spent = time_call(train)
            taken[name].append((spent / members, (time.process_time() - before) / members))
    return taken


def pick_seconds(pairs: list[tuple[float, float]]) -> list[float]:
    """Picks the seconds of pairs of seconds and processor seconds."""
    return [spent for spent, _ in pairs]


def pick_processor_seconds(pairs: list[tuple[float, float]]) -> list[float]:
    """Picks the processor seconds of pairs of seconds and processor seconds."""
    return [used for _, used in pairs]


def divide(over: list[float], under: list[float]) -> list[float]:
    """Divides the times of every round that both took part in."""
    return [a / b for a, b in zip(over, under, strict=False)]


def judge(what: str, value: float, goal: str, met: bool) -> str:
    """Formats a line that says whether a goal is met."""
    return f"{what}: {value:.2f} (goal: {goal}; {'met' if met else 'MISSED'})"


def main() -> None:
    """Measures and prints."""
    memory.keep_freed_memory()
    parallel.set_up()
    # Compile times are those of a first launch.
    jax.config.update("jax_enable_compilation_cache", False)
    default_threads = torch.get_num_threads()
    print(machine.describe("jax", "jaxlib", "torch", "numpy"))
    print(
        f"{len(jax.devices())} JAX device(s): {jax.devices()[0].device_kind}; "
        f"{default_threads} torch threads by default; {ROUNDS} rounds, median [least - largest]\n"
    )
    work = make_work()
    loops = {
        f"torch, {threads} thread(s){', fused AdamW' if fused else ''}": TorchLoop(
            work, threads, fused=fused
        )
        for fused in (False, True)
        for threads in sorted({1, default_threads}, reverse=True)
    }
    fleets: dict[str, Any] = {
        f"{kind}, {members} member(s)": contender
        for members in MEMBERS
        for kind, contender in (
            ("lelp_jax", Fleet(work, members)),
            ("lax.scan and optax", JaxLoop(work, members)),
            ("torch.func", TorchFleet(work, members) if members > 1 else None),
        )
        if contender is not None
    }
    if not fleets["torch.func, 8 member(s)"].compiled:
        print("no C++ compiler was found: torch.func runs without torch.compile\n")
    taken = measure_students(loops, fleets)
    best = min(loops, key=lambda name: statistics.median(pick_seconds(taken[name])))
    rows = [
        [
            *("contender", "ms per student", "processor ms"),
            *("times as fast as the best loop", "compile s"),
        ]
    ]
    for name, pairs in taken.items():
        compiled = getattr(fleets.get(name), "compile_seconds", None)
        values = pick_seconds(pairs)
        faster = divide(pick_seconds(taken[best]), values)
        rows.append(
            [
                name + ("" if len(pairs) == ROUNDS else f" ({len(pairs)} rounds)"),
                machine.spread([1e3 * value for value in values], 1),
                machine.spread([1e3 * value for value in pick_processor_seconds(pairs)], 1),
                "the best loop" if name == best else machine.spread(faster, 1),
                "" if compiled is None else f"{compiled:.2f}",
            ]
        )
    print(machine.table(rows) + "\n")

    speed_up = statistics.median(
        divide(pick_seconds(taken[best]), pick_seconds(taken["lelp_jax, 8 member(s)"]))
    )
    print(
        judge(
            "times as fast per student at 8 members",
            speed_up,
            f"at least {LEAST_SPEED_UP:g}",
            speed_up >= LEAST_SPEED_UP,
        )
    )
    for kind, most, sizes in (
        ("lax.scan and optax", MOST_OVER_JAX, MEMBERS),
        ("torch.func", MOST_OVER_TORCH, MEMBERS[-1:]),
    ):
        for members in sizes:
            ours, other = (
                pick_processor_seconds(taken[f"{name}, {members} member(s)"])
                for name in ("lelp_jax", kind)
            )
            value = statistics.median(divide(ours, other))
            what = f"lelp_jax over {kind}, processor time, {members} member(s)"
            print(judge(what, value, f"at most {most:g}", value <= most))


if __name__ == "__main__":
    main()
