"""The work of benchmarks/fleet.py, and bare loops that do it: what one would write by hand."""

from __future__ import annotations

import dataclasses
import shutil
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

from lelp_jax import models
from lelp_jax.core import parallel
from lelp_jax.data import loader
from lelp_jax.methods.pseudo_subclass import log_targets

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


def draw_orders(members: int) -> np.ndarray:
    """Draws the order of examples that the fleets of this package see, [steps, members, batch]."""
    loader._epochs.cache_clear()
    orders = [loader.batch_positions(i, 0, STEPS, BATCH, ROWS) for i in range(members)]
    return np.stack(orders, axis=1)


class JaxLoop:
    """The loop that one would write in JAX: one program that scans over vectorised steps."""

    def __init__(self, work: Work, members: int):
        """Compiles it and runs it once.

        Args:
            work: What it learns from.
            members: Students that train together.
        """
        self.members = members
        model: Any = models.build({"name": "mlp", "hidden": (HIDDEN,)}, CLASSES * SUBCLASSES)
        rule = optax.adamw(
            optax.cosine_decay_schedule(NUMERIC["learning_rate"], STEPS),
            weight_decay=NUMERIC["weight_decay"],
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        )
        temperature = NUMERIC["temperature"]

        def mean_loss(params: Any, inputs: jax.Array, targets: jax.Array) -> jax.Array:
            logits = model.apply({"params": params}, inputs).logits / temperature
            return temperature**2 * optax.softmax_cross_entropy(logits, targets).mean()

        def run(order: jax.Array, seeds: jax.Array, inputs: jax.Array, targets: jax.Array) -> Any:
            def start(seed: jax.Array) -> Any:
                params = model.init(jax.random.key(seed), inputs[:1])["params"]
                return params, rule.init(params)

            def step_of_one(carry: Any, index: jax.Array) -> Any:
                params, state = carry
                loss, gradient = jax.value_and_grad(mean_loss)(
                    params, inputs[index], targets[index]
                )
                updates, state = rule.update(gradient, state, params)
                return (optax.apply_updates(params, updates), state), loss

            def step(carry: Any, index: jax.Array) -> Any:
                if members > 1:
                    return jax.vmap(step_of_one)(carry, index)
                # As in this package: under vmap the products of one member are slower, too.
                alone = step_of_one(jax.tree.map(lambda leaf: leaf[0], carry), index[0])
                return jax.tree.map(lambda leaf: leaf[None], alone)

            (params, _), losses = jax.lax.scan(step, jax.vmap(start)(seeds), order)
            return params, losses

        mesh = parallel.make_fleet_mesh(members, BATCH)
        by_member = parallel.make_sharding(mesh, parallel.MEMBER)
        self._by_step = parallel.make_sharding(mesh, None, parallel.MEMBER)
        self._seeds = jax.device_put(np.arange(members, dtype=np.uint32), by_member)
        self._work = jax.device_put(
            (work.inputs, work.targets.reshape(ROWS, -1)), parallel.make_sharding(mesh)
        )
        self._run = jax.jit(run, out_shardings=(by_member, self._by_step))
        self.train()

    def train(self) -> None:
        """Does a whole run."""
        order = jax.device_put(draw_orders(self.members), self._by_step)
        jax.block_until_ready(self._run(order, self._seeds, *self._work))


class TorchFleet:
    """Several students at once in PyTorch: torch.func.vmap, compiled where that is possible."""

    def __init__(self, work: Work, members: int):
        """Compiles it and runs it once, on one thread: with two it took six times as long.

        Args:
            work: What it learns from.
            members: Students that train together.
        """
        self.members = members
        self.compiled = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
        inputs = torch.tensor(work.inputs)
        targets = torch.tensor(work.targets).reshape(ROWS, -1)
        temperature, decay = NUMERIC["temperature"], NUMERIC["weight_decay"]
        self._outputs = targets.shape[1]
        skeleton = self._new_student().to("meta")

        def mean_loss(params: Any, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            logits = torch.func.functional_call(skeleton, params, (inputs,)) / temperature
            return temperature**2 * torch.nn.functional.cross_entropy(logits, targets)

        gradient = torch.func.vmap(torch.func.grad(mean_loss))

        # AdamW by hand, so that it is compiled with the rest of the step.
        def step(params: Any, moments: Any, index: Any, rate: Any, count: Any) -> None:
            for name, slope in gradient(params, inputs[index], targets[index]).items():
                param, (first, second) = params[name], moments[name]
                first.lerp_(slope, 0.1)
                second.mul_(0.999).addcmul_(slope, slope, value=0.001)
                update = first / (1 - 0.9**count)
                update = update / ((second / (1 - 0.999**count)).sqrt() + 1e-8)
                if param.ndim > 2:
                    update = update + decay * param
                param.sub_(rate * update)

        self._step = torch.compile(step, dynamic=False) if self.compiled else step
        start = time.perf_counter()
        self.train()
        self.compile_seconds = time.perf_counter() - start

    def _new_student(self) -> torch.nn.Module:
        return torch.nn.Sequential(
            torch.nn.Linear(FEATURES, HIDDEN),
            torch.nn.ReLU(),
            torch.nn.Linear(HIDDEN, self._outputs),
        )

    @torch.no_grad()
    def train(self) -> None:
        """Does a whole run."""
        torch.set_num_threads(1)
        students = [self._new_student() for _ in range(self.members)]
        params, _ = torch.func.stack_module_state(students)
        params = {name: param.detach().clone() for name, param in params.items()}
        moments = {
            name: (torch.zeros_like(param), torch.zeros_like(param))
            for name, param in params.items()
        }
        order = torch.from_numpy(draw_orders(self.members).astype(np.int64))
        steps = torch.arange(STEPS)
        rates = NUMERIC["learning_rate"] * 0.5 * (1 + torch.cos(torch.pi * steps / STEPS))
        for number in range(STEPS):
            self._step(params, moments, order[number], rates[number], steps[number] + 1.0)
