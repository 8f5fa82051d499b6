"""The loop that trains a fleet, stops when asked to, and resumes at the step it stopped at."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax import metrics
from lelp_jax.checkpoint import Checkpoints, save_tree
from lelp_jax.session import Session
from lelp_jax.train.job import FleetJob, count_served
from lelp_jax.train.predict import predict
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import FleetState, StepLog

_CURVE_POINTS = 50


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
    runner = Runner(job)
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        state, seconds = _train(runner, folder.name, checkpoints, session)
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
        "parameters": count_served(job.spec, job.inputs),
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


def _train(
    runner: Runner, name: str, checkpoints: Checkpoints, session: Session
) -> tuple[FleetState, float]:
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
    session.curves.cut(name, done)
    compiled_before = runner.compile_seconds
    start = last_save = time.perf_counter()
    logged: tuple[int, StepLog] | None = None

    def settle() -> None:
        """Fetches the losses of a dispatch, which waits for it."""
        if logged is not None:
            first, log = logged
            session.curves.write(_curve_lines(runner, name, first, log))
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


def _curve_lines(runner: Runner, name: str, first: int, log: StepLog) -> list[dict[str, Any]]:
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
                "fleet": name,
                "step": first + int(end),
                "loss": [float(f"{value:.6g}") for value in mean],
            }
        )
    return lines
