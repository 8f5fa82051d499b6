"""The loop that trains a fleet, stops when asked to, and resumes at the step it stopped at."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax import metrics, parallel
from lelp_jax.checkpoint import Checkpoints, save_tree
from lelp_jax.data import loader
from lelp_jax.session import Session
from lelp_jax.train import plan
from lelp_jax.train.step import (
    FleetState,
    GroupRows,
    Members,
    StepLog,
    StepSpec,
    init_fleet,
    predict_fleet,
    train_fleet,
)

_CURVE_POINTS = 50
_PREDICT_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Member:
    """One network to train.

    Attributes:
        fingerprint: Names everything it depends on.
        numeric: Its traced settings.
        seed: Seed of initialisation and dropout.
        order_seed: Seed of the order of examples.
        group: Which group of `FleetJob.rows` it learns from.
    """

    fingerprint: str
    numeric: Mapping[str, float]
    seed: int
    order_seed: int
    group: int


@dataclasses.dataclass(frozen=True)
class FleetJob:
    """A fleet with all that its training reads.

    Attributes:
        stage: "teachers" or "students", for the log.
        spec: The program.
        batch_size: Examples per member and step.
        members: The members.
        rows: What they learn from, as host arrays.
        group_sizes: How many of each group's rows may be drawn; the rest is padding, [groups].
        inputs: The table that `rows.row` points into, [rows, features...].
        validation_inputs: [rows, features...].
        validation_labels: [rows].
    """

    stage: str
    spec: StepSpec
    batch_size: int
    members: tuple[Member, ...]
    rows: GroupRows
    group_sizes: np.ndarray
    inputs: np.ndarray
    validation_inputs: np.ndarray
    validation_labels: np.ndarray


def count_parameters(spec: StepSpec, inputs: np.ndarray) -> int:
    """Returns the number of parameters of one member, without making them."""
    example = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    params = jax.eval_shape(spec.model.init, jax.random.key(0), example)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def train(folder: Path, job: FleetJob, session: Session) -> Mapping[str, Any]:
    """Trains a fleet to its end, from its newest checkpoint if there is one.

    Args:
        folder: Holds the checkpoints while training and `parameters` at the end.
        job: The fleet.
        session: The run.

    Returns:
        The facts to keep: `parameters` of one member, `train_seconds` per member,
        `compile_seconds`, the plan (`steps_per_dispatch`, `mesh`), and for each of the `members`
        its `fingerprint`, whether it `diverged` and its `validation` metrics.

    Raises:
        Interrupted: The run was asked to stop; a checkpoint holds what was done.
    """
    runner = _Runner(folder, job)
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        state, seconds = _train(runner, checkpoints, session)
    finally:
        checkpoints.close()
    params = jax.tree.map(lambda leaf: leaf[: len(job.members)], state.members.params)
    logits, _ = predict(
        job.spec,
        params,
        runner.numeric,
        {name: np.asarray(a)[runner.group] for name, a in job.rows.constants.items()},
        job.validation_inputs,
    )
    # The last update may have been the one too many: no step came after it to notice.
    finite = np.isfinite(logits).all(axis=(1, 2))
    diverged = np.asarray(state.members.diverged)[: len(job.members)] | ~finite
    save_tree(folder / "parameters", params)
    return {
        "parameters": runner.parameters,
        "train_seconds": seconds / len(job.members),
        "compile_seconds": runner.compile_seconds,
        "steps_per_dispatch": runner.steps,
        "mesh": dict(runner.mesh.shape),
        "members": [
            {
                "fingerprint": member.fingerprint,
                "diverged": bool(diverged[i]),
                "validation": metrics.evaluate(logits[i], job.validation_labels)
                if finite[i]
                else dict.fromkeys(metrics.METRICS, float("nan")),
            }
            for i, member in enumerate(job.members)
        ],
    }


class _Runner:
    """The compiled program of a fleet and the arrays that stay the same in every call."""

    def __init__(self, folder: Path, job: FleetJob):
        self.job, self.folder = job, folder
        self.parameters = count_parameters(job.spec, job.inputs)
        platform = jax.devices()[0].platform
        self.steps = plan.steps_per_dispatch(
            self.parameters, job.batch_size, len(job.members), job.spec.steps, platform
        )
        self.mesh = parallel.fleet_mesh(len(job.members), job.batch_size)
        size = parallel.padded_members(len(job.members), self.mesh)
        # Padding repeats the last member; its results are dropped.
        self.padded = [job.members[min(i, len(job.members) - 1)] for i in range(size)]
        self.numeric = {
            name: np.array([member.numeric[name] for member in job.members], np.float32)
            for name in job.members[0].numeric
        }
        self.group = np.array([member.group for member in job.members], np.int32)
        by_member = parallel.sharding(self.mesh, parallel.MEMBER)
        everywhere = parallel.sharding(self.mesh)
        # The mesh's batch axis splits positions, and with them every array of a batch.
        self.by_position = parallel.sharding(self.mesh, None, parallel.MEMBER, parallel.DATA)
        self.state_sharding = FleetState(everywhere, by_member)  # type: ignore[arg-type]
        members = Members(
            numeric={
                name: np.array([member.numeric[name] for member in self.padded], np.float32)
                for name in self.numeric
            },
            seed=np.array([member.seed for member in self.padded], np.uint32),
            group=np.array([member.group for member in self.padded], np.int32),
        )
        self.members = jax.device_put(members, by_member)
        self.rows, self.inputs = jax.device_put((job.rows, job.inputs), everywhere)
        self.compile_seconds = 0.0
        self._program: Any = None

    def new_state(self) -> FleetState:
        arguments = (self.inputs[:1], self.members.seed)
        program, seconds = parallel.compiled(
            init_fleet, self.job.spec, arguments, out_shardings=self.state_sharding
        )
        self.compile_seconds += seconds
        return program(*arguments)

    def dispatch(self, state: FleetState, first_step: int) -> tuple[FleetState, StepLog]:
        """Starts the next steps; returns before the device has done them."""
        job = self.job
        orders = {
            (member.order_seed, member.group): loader.batch_positions(
                member.order_seed,
                first_step,
                self.steps,
                job.batch_size,
                int(job.group_sizes[member.group]),
            )
            for member in job.members
        }
        positions = np.stack([orders[m.order_seed, m.group] for m in self.padded], axis=1)
        arguments = (
            state,
            self.members,
            self.rows,
            self.inputs,
            jax.device_put(positions, self.by_position),
        )
        if self._program is None:
            self._program, seconds = parallel.compiled(
                train_fleet,
                job.spec,
                arguments,
                out_shardings=(self.state_sharding, parallel.sharding(self.mesh)),
                donate=(0,),
            )
            self.compile_seconds += seconds
        return self._program(*arguments)


def _train(runner: _Runner, checkpoints: Checkpoints, session: Session) -> tuple[FleetState, float]:
    """Returns the final state and the seconds spent training, compilation apart."""
    job, total = runner.job, runner.job.spec.steps
    state = runner.new_state()
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
    done, spent = 0, 0.0
    restored = checkpoints.restore(abstract)
    if restored is not None:
        done, state, facts = restored
        spent = facts["seconds"]
        session.reporter.log(f"{job.stage}: resumed at step {min(done, total):,} of {total:,}")
        session.reporter.advance(min(done, total) * len(job.members))
    session.curves.cut(runner.folder.name, done)
    compiled_before = runner.compile_seconds
    start = last_save = time.perf_counter()
    logged: tuple[int, StepLog] | None = None

    def settle() -> None:
        """Fetches the losses of a dispatch, which waits for it."""
        if logged is not None:
            first, log = logged
            session.curves.write(_curve_lines(runner, first, log))
            session.reporter.advance((min(first + runner.steps, total) - first) * len(job.members))

    while done < total:
        state, log = runner.dispatch(state, done)
        # The dispatch before this one is fetched while the device works on this one.
        settle()
        logged = (done, log)
        done += runner.steps
        now = time.perf_counter()
        stop = session.interrupts.requested
        if done < total and (stop or now - last_save >= session.checkpoint_seconds):
            settle()
            logged = None
            compiling = runner.compile_seconds - compiled_before
            seconds = spent + time.perf_counter() - start - compiling
            checkpoints.save(done, state, {"seconds": seconds})
            last_save = time.perf_counter()
            session.interrupts.check()
    settle()
    jax.block_until_ready(state)
    compiling = runner.compile_seconds - compiled_before
    return state, spent + time.perf_counter() - start - compiling


def _curve_lines(runner: _Runner, first: int, log: StepLog) -> list[dict[str, Any]]:
    """Returns log lines of one dispatch: mean losses over stretches of steps."""
    job = runner.job
    steps = min(runner.steps, job.spec.steps - first)
    total, weight = (np.asarray(part)[:steps, : len(job.members)] for part in log)
    pieces = max(1, round(_CURVE_POINTS * steps / job.spec.steps))
    ends = np.unique(np.linspace(0, steps, pieces + 1).astype(int))
    lines = []
    for start, end in itertools.pairwise(ends):
        mean = total[start:end].sum(axis=0) / np.maximum(weight[start:end].sum(axis=0), 1e-30)
        lines.append(
            {
                "stage": job.stage,
                "fleet": runner.folder.name,
                "step": first + int(end),
                "loss": [float(f"{value:.6g}") for value in mean],
            }
        )
    return lines


def predict(
    spec: StepSpec,
    params: Any,
    numeric: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
    inputs: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns class logits and embeddings of all rows for several members.

    Args:
        spec: The program.
        params: Parameters with a leading member axis.
        numeric: Traced settings, [members] each.
        constants: The method's arrays, each [members, ...].
        inputs: [rows, features...].

    Returns:
        Logits [members, rows, classes] and embeddings [members, rows, dims], on the host.
    """
    device = jax.devices()[0]
    params, numeric, constants = jax.device_put((params, numeric, constants), device)
    size = min(len(inputs), _PREDICT_ROWS)
    logits, embeddings = [], []
    for start in range(0, len(inputs), size):
        batch = inputs[start : start + size]
        padding = [(0, size - len(batch)), *[(0, 0)] * (batch.ndim - 1)]
        # The last batch is padded to the common shape; the padding is cut off again.
        arguments = (params, numeric, constants, jax.device_put(np.pad(batch, padding), device))
        program, _ = parallel.compiled(predict_fleet, spec, arguments)
        out, embedding = program(*arguments)
        logits.append(np.asarray(out)[:, : len(batch)])
        embeddings.append(np.asarray(embedding)[:, : len(batch)])
    return np.concatenate(logits, axis=1), np.concatenate(embeddings, axis=1)
