"""Time per student: fleets of this package beside a bare PyTorch loop of the same work.

    make bench-fleet

The work is the student of configs/digits.py: an MLP 64-32-20, 1,500 steps of batch 64 over 1,077
rows that lie in memory, soft-target cross-entropy at a temperature, AdamW, cosine schedule. What is
learnt is random, since the time does not depend on it. A run is everything from a new network to
the last step: initialisation, order of examples, training. Compilation is told apart and not saved.

Contenders take turns, and a ratio is taken within each round and then its median over the rounds,
so that other load on the machine falls on both sides.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks import machine
from lelp_jax import methods, models
from lelp_jax.core import memory as allocator
from lelp_jax.core import parallel
from lelp_jax.data import loader
from lelp_jax.methods.base import Constants, Hyperparameters, LossInputs, LossOutput, cross_entropy
from lelp_jax.methods.pseudo_subclass import log_targets
from lelp_jax.train import buckets
from lelp_jax.train.fleet import FleetJob, Member
from lelp_jax.train.optimizer import OptimizerConfig
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import FleetState, GroupRows, StepSpec

ROUNDS = 15
# Several threads spin for a core that other load holds: a loop that was this many times slower than
# the best one in each of the first rounds is out, or the benchmark would take very long.
HOPELESS, TRIAL_ROUNDS = 2.5, 3
ROWS, FEATURES, HIDDEN = 1077, 64, 32
CLASSES, SUBCLASSES = 2, 10
STEPS, BATCH = 1500, 64
NUMERIC = {
    "learning_rate": 3e-3,
    "weight_decay": 1e-4,
    "temperature": 4.0,
    "beta": 0.5,
    "alpha": 0.0,
    "label_smoothing": 0.0,
    "hard_mixing": 0.0,
    "warmup": 0.0,
}
MEMBERS = (1, 8, 32)
# What this benchmark is to show.
LEAST_SPEED_UP, MOST_OVERHEAD = 10.0, 1.5


@dataclasses.dataclass(frozen=True)
class Work:
    """What all contenders learn from.

    Attributes:
        inputs: [rows, features] float32.
        labels: [rows] int32.
        logits: Teacher's, [rows, classes] float32.
        scores: [rows, classes, subclasses] float32.
        targets: Probabilities that follow from `logits` and `scores`, of the shape of `scores`.
    """

    inputs: np.ndarray
    labels: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    targets: np.ndarray


def make_work() -> Work:
    """Draws the data."""
    random = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    logits, scores = normal(ROWS, CLASSES), normal(ROWS, CLASSES, SUBCLASSES)
    unlabelled = jnp.full(ROWS, -1)
    [by_column] = jnp.exp(
        log_targets(jnp.asarray(logits), jnp.asarray(scores), unlabelled, NUMERIC)
    )
    return Work(
        inputs=normal(ROWS, FEATURES),
        labels=np.arange(ROWS, dtype=np.int32) % CLASSES,
        logits=logits,
        scores=scores,
        targets=np.moveaxis(np.asarray(by_column), -1, 0),
    )


def precomputed(
    inputs: LossInputs, constants: Constants, hyperparameters: Hyperparameters
) -> LossOutput:
    """Returns the soft loss alone, [batch], on targets made before training."""
    del constants
    assert inputs.scores is not None
    target = inputs.scores.reshape(len(inputs.logits), -1)
    temperature = hyperparameters["temperature"]
    soft = temperature**2 * cross_entropy(target, inputs.logits / temperature)
    return LossOutput(soft, {"soft": soft})


class Fleet:
    """A fleet of this package that trains from new students to the last step."""

    def __init__(self, work: Work, members: int, *, in_step: bool):
        """Compiles it and runs it once.

        Args:
            work: What it learns from.
            members: Students that train together.
            in_step: Whether the step makes the targets, as lelp does, or finds them made.
        """
        method = methods.find("lelp")
        spec = StepSpec(
            model=models.build({"name": "mlp", "hidden": (HIDDEN,)}, CLASSES * SUBCLASSES),
            loss=method.loss if in_step else precomputed,
            readout=method.readout,
            optimizer=OptimizerConfig(),
            steps=STEPS,
        )
        rows = GroupRows(
            row=np.arange(ROWS, dtype=np.int32),
            label=work.labels,
            weight=np.ones(ROWS, np.float32),
            teacher_logits=work.logits,
            scores=work.scores if in_step else work.targets,
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

    def new_state(self) -> FleetState:
        """Returns new students."""
        return self._runner.new_state()

    def steps(self, state: FleetState) -> None:
        """Trains to the last step and waits for it; takes over the state."""
        for first in range(0, STEPS, self._runner.steps):
            state, _ = self._runner.dispatch(state, first)
        jax.block_until_ready(state)

    def train(self) -> None:
        """Does a whole run, every member with an order of examples of its own."""
        loader._epochs.cache_clear()
        self.steps(self.new_state())


class TorchLoop:
    """The loop that one would write by hand, on tensors in memory and targets made before."""

    def __init__(self, work: Work, threads: int, *, fused: bool):
        """Runs it once.

        Args:
            work: What it learns from.
            threads: Threads within an operation.
            fused: Whether AdamW updates all parameters in one kernel; not PyTorch's default.
        """
        self.threads, self.fused = threads, fused
        self._inputs = torch.tensor(work.inputs)
        self._targets = torch.tensor(work.targets).reshape(ROWS, -1)
        self.train()

    def train(self) -> None:
        """Does a whole run."""
        torch.set_num_threads(self.threads)
        temperature = NUMERIC["temperature"]
        model = torch.nn.Sequential(
            torch.nn.Linear(FEATURES, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, self._targets.shape[1]),
        )
        parameters = list(model.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(
            groups,
            lr=NUMERIC["learning_rate"],
            weight_decay=NUMERIC["weight_decay"],
            fused=self.fused,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        epochs = -(-STEPS * BATCH // ROWS)
        order = torch.cat([torch.randperm(ROWS) for _ in range(epochs)])[: STEPS * BATCH]
        for index in order.reshape(STEPS, BATCH):
            logits = model(self._inputs[index]) / temperature
            loss = temperature**2 * torch.nn.functional.cross_entropy(logits, self._targets[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def seconds(function: Callable[[], None]) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure_students(
    loops: Mapping[str, TorchLoop], fleets: Mapping[str, Fleet]
) -> dict[str, list[float]]:
    """Returns seconds per student, by contender and round; see `HOPELESS`."""
    taken: dict[str, list[float]] = {name: [] for name in (*loops, *fleets)}
    left = dict(loops)
    for number in range(ROUNDS):
        if number == TRIAL_ROUNDS:
            best = min(statistics.median(taken[name]) for name in loops)
            left = {name: loops[name] for name in loops if min(taken[name]) < HOPELESS * best}
        contenders = [(name, loop.train, 1) for name, loop in left.items()]
        contenders += [(name, fleet_.train, fleet_.members) for name, fleet_ in fleets.items()]
        # Every other round backwards: what slowly changes falls on both ends.
        for name, train, members in contenders[:: -1 if number % 2 else 1]:
            taken[name].append(seconds(train) / members)
    return taken


def measure_steps(in_step: Fleet, made_before: Fleet) -> tuple[list[float], list[float]]:
    """Returns seconds for all steps of two fleets, by round; the order of examples is at hand."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(-1, 2 * ROUNDS):
        for which in (0, 1) if number % 2 else (1, 0):
            trained = (in_step, made_before)[which]
            state = jax.block_until_ready(trained.new_state())
            spent = seconds(functools.partial(trained.steps, state))
            if number >= 0:
                taken[which].append(spent)
    return taken


def ratios(over: list[float], under: list[float]) -> list[float]:
    """Returns the ratio of every round that both took part in."""
    return [a / b for a, b in zip(over, under, strict=False)]


def verdict(what: str, value: float, goal: str, met: bool) -> str:
    """Returns a line that says whether a goal is met."""
    return f"{what}: {value:.2f} (goal: {goal}; {'met' if met else 'MISSED'})"


def main() -> None:
    """Measures and prints."""
    allocator.keep_freed_memory()
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
    lelp = {members: Fleet(work, members, in_step=True) for members in MEMBERS}
    fleets = {f"lelp_jax, {members} member(s)": trained for members, trained in lelp.items()}
    taken = measure_students(loops, fleets)
    best = min(loops, key=lambda name: statistics.median(taken[name]))
    rows = [["contender", "ms per student", "times as fast as the best loop", "compile s"]]
    for name, values in taken.items():
        compiled = f"{fleets[name].compile_seconds:.2f}" if name in fleets else ""
        faster = "the best loop" if name == best else machine.spread(ratios(taken[best], values), 1)
        name += "" if len(values) == ROUNDS else f" ({len(values)} rounds)"
        rows.append([name, machine.spread([1e3 * value for value in values], 1), faster, compiled])
    print(machine.table(rows) + "\n")

    overhead = {}
    rows = [["us per step and member", "lelp", "targets made before", "ratio"]]
    for members in MEMBERS[1:]:
        pair = measure_steps(lelp[members], Fleet(work, members, in_step=False))
        ratio = ratios(*pair)
        overhead[members] = statistics.median(ratio)
        cells = [
            machine.spread([1e6 * v / (STEPS * members) for v in values], 2) for values in pair
        ]
        rows.append([f"{members} members", *cells, machine.spread(ratio, 2)])
    print(machine.table(rows) + "\n")

    speed_up = statistics.median(ratios(taken[best], taken["lelp_jax, 8 member(s)"]))
    print(
        verdict(
            "times as fast per student at 8 members",
            speed_up,
            f"at least {LEAST_SPEED_UP:g}",
            speed_up >= LEAST_SPEED_UP,
        )
    )
    for members, value in overhead.items():
        print(
            verdict(
                f"lelp step over a step on targets made before, {members} members",
                value,
                f"at most {MOST_OVERHEAD:g}",
                value <= MOST_OVERHEAD,
            )
        )


if __name__ == "__main__":
    main()
