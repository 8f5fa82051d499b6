"""The loop that trains a fleet, stops when asked to, and resumes at the step it stopped at."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax.core import metrics, parallel
from lelp_jax.core.checkpoint import Checkpoints, save_tree
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.train import early_stopping
from lelp_jax.train.early_stopping import Evaluation
from lelp_jax.train.fleet import FleetJob, count_served
from lelp_jax.train.predict import predict
from lelp_jax.train.runner import Runner
from lelp_jax.train.state import FleetState, Params, StepLog

_CURVE_POINTS = 50


def train(folder: Path, job: FleetJob, session: Session) -> Mapping[str, Any]:
    """Trains a fleet to its end, from its newest checkpoint if there is one.

    Args:
        folder: Holds the checkpoints while training and `parameters` at the end.
        job: The fleet.
        session: The run.

    Returns:
        The facts to keep: `parameters` of one member, `train_seconds` per member, without
        `validation_seconds` per member and `compile_seconds` of the fleet, the plan
        (`steps_per_dispatch`, `mesh`), and for each of the `members` its `fingerprint`, whether it
        `diverged`, the `best_step` whose parameters are kept and its `validation` metrics.

    Raises:
        UserError: The metric of early stopping is not defined on the validation rows.
        Interrupted: The run was asked to stop; a checkpoint holds what was done.
    """
    runner = Runner(job)
    session = dataclasses.replace(session, curves=session.curves.open_for_fleet(folder))
    checkpoints = Checkpoints(folder / "checkpoints")
    try:
        state, seconds = _train(runner, folder.name, checkpoints, session)
    finally:
        checkpoints.close()
    params, count = state.members.evaluated, len(job.members)
    best_step = np.full(count, job.spec.steps)
    if state.members.best is not None:
        params, best_step = state.members.best.params, np.asarray(state.members.best.step)[:count]
    params = _drop_padding(params, count)
    logits = _predict_validation(runner, params)
    # The last update may have been the one too many: no step came after it to notice. A member
    # that was never fit to be kept has its first parameters, which say nothing.
    finite = np.isfinite(logits).all(axis=(1, 2)) & (best_step > 0)
    diverged = np.asarray(state.members.diverged)[:count] | ~finite
    save_tree(folder / "parameters", params)
    return {
        "parameters": count_served(job.spec, job.inputs),
        "train_seconds": seconds["training"] / count,
        "validation_seconds": seconds["validation"] / count,
        "compile_seconds": runner.compile_seconds,
        "steps_per_dispatch": runner.steps,
        "mesh": dict(runner.mesh.shape),
        "members": [
            {
                "fingerprint": member.fingerprint,
                "diverged": bool(diverged[i]),
                "best_step": int(best_step[i]),
                "validation": metrics.evaluate(logits[i], job.validation_labels)
                if finite[i]
                else dict.fromkeys(metrics.METRICS, float("nan")),
            }
            for i, member in enumerate(job.members)
        ],
    }


def _train(
    runner: Runner, name: str, checkpoints: Checkpoints, session: Session
) -> tuple[FleetState, Mapping[str, float]]:
    """Trains to the end; gives the final state and the seconds spent on training and validation.

    Seconds of training are without those of compiling; those of validation hold what compiling the
    prediction took.
    """
    job, total = runner.job, runner.job.spec.steps
    state, spacing = runner.new_state(), job.early_stopping.spacing(total)
    if spacing:
        state = _call(runner, early_stopping.add_best, None, state)
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state
    )
    done, spent = 0, {"training": 0.0, "validation": 0.0}
    restored = checkpoints.restore(abstract)
    if restored is not None:
        done, state, facts = restored
        spent = facts["seconds"]
        session.reporter.log(f"{job.stage}: resumed at step {min(done, total):,} of {total:,}")
        session.reporter.advance(min(done, total) * len(job.members))
    session.curves.cut(name, done)
    compiled_before, validated = runner.compile_seconds, 0.0
    start = last_save = time.perf_counter()
    logged: tuple[int, StepLog] | None = None

    def settle() -> None:
        """Fetches the losses of a dispatch, which waits for it."""
        nonlocal logged
        if logged is not None:
            first, log = logged
            session.curves.write(_make_curve_lines(runner, name, first, log))
            session.reporter.advance((min(first + runner.steps, total) - first) * len(job.members))
        logged = None

    def seconds() -> dict[str, float]:
        passed = time.perf_counter() - start - (runner.compile_seconds - compiled_before)
        return {
            "training": spent["training"] + passed - validated,
            "validation": spent["validation"] + validated,
        }

    ended = False
    while done < total and not ended:
        state, log = runner.dispatch(state, done)
        # The dispatch before this one is fetched while the device works on this one.
        settle()
        logged = (done, log)
        done += runner.steps
        if spacing and (done % spacing == 0 or done >= total):
            settle()
            jax.block_until_ready(state)
            began, compiled = time.perf_counter(), runner.compile_seconds
            state = _evaluate(runner, name, min(done, total), state, session)
            ended = _have_all_ended(state)
            validated += time.perf_counter() - began - (runner.compile_seconds - compiled)
        now = time.perf_counter()
        stop = session.interrupts.requested
        if done < total and not ended and (stop or now - last_save >= session.checkpoint_seconds):
            settle()
            checkpoints.save(done, state, {"seconds": seconds()})
            last_save = time.perf_counter()
            session.interrupts.check()
    settle()
    # What members that stopped early leave undone.
    session.reporter.advance(max(total - done, 0) * len(job.members))
    jax.block_until_ready(state)
    return state, seconds()


def _evaluate(
    runner: Runner, name: str, step: int, state: FleetState, session: Session
) -> FleetState:
    """Evaluates the members on the validation rows and logs the result.

    Raises:
        UserError: The metric is not defined on them.
    """
    job, config = runner.job, runner.job.early_stopping
    logits = _predict_validation(runner, _drop_padding(state.members.evaluated, len(job.members)))
    finite = np.isfinite(logits).all(axis=(1, 2))
    labels, nan = job.validation_labels, float("nan")
    values, nll = (
        [
            metrics.METRICS[metric](own, labels) if sound else nan
            for own, sound in zip(logits, finite, strict=True)
        ]
        for metric in (config.metric, "nll")
    )
    if np.isnan(np.array(values)[finite]).any():
        raise UserError(
            f"early_stopping.metric {config.metric!r} is not defined on the validation rows of "
            f"{logits.shape[-1]} classes; take accuracy or nll"
        )
    line = {"stage": job.stage, "fleet": name, "step": step, "metric": config.metric}
    session.curves.write([{**line, "validation": [float(f"{value:.6g}") for value in values]}])
    sign = metrics.find_direction(config.metric)
    evaluation = Evaluation(sign * np.array(values, np.float32), np.array(nll, np.float32), finite)
    # Padding repeats the last member.
    padding = (0, len(runner.padded) - len(job.members))
    padded = jax.tree.map(lambda array: np.pad(array, padding, mode="edge"), evaluation)
    placed = jax.device_put(padded, runner.state_sharding.members)
    limits = (job.spec.steps, config.patience)
    return _call(runner, early_stopping.judge, limits, state, placed)


def _call(
    runner: Runner, function: Callable[..., FleetState], static: Hashable, *arguments: Any
) -> FleetState:
    """Calls a pure function of the state, whose buffers the result takes over."""
    program, seconds = parallel.compile_program(
        function, static, arguments, out_shardings=runner.state_sharding, donate=(0,)
    )
    runner.compile_seconds += seconds
    state: FleetState = program(*arguments)
    return state


def _have_all_ended(state: FleetState) -> bool:
    """Checks whether every member has stopped or diverged."""
    best = state.members.best
    assert best is not None
    return bool((np.asarray(best.stopped) | np.asarray(state.members.diverged)).all())


def _drop_padding(params: Params, count: int) -> Params:
    """Drops the parameters of members that pad the fleet."""
    own: Params = jax.tree.map(lambda leaf: leaf if len(leaf) == count else leaf[:count], params)
    return own


def _predict_validation(runner: Runner, params: Params) -> np.ndarray:
    """Computes class logits, [members, validation rows, classes]."""
    job = runner.job
    constants = {name: np.asarray(a)[runner.group] for name, a in job.rows.constants.items()}
    return predict(job.spec, params, runner.hyperparameters, constants, job.validation_inputs)[0]


def _make_curve_lines(runner: Runner, name: str, first: int, log: StepLog) -> list[dict[str, Any]]:
    """Formats the log lines of one dispatch: mean losses over stretches of steps."""
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
