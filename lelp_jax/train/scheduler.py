"""Trained members on disk: which exist already, and the fleets that train the others."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lelp_jax.core import artifacts
from lelp_jax.core.errors import Unavailable
from lelp_jax.core.session import Session
from lelp_jax.train import plan
from lelp_jax.train.fleet import FleetJob, trace_member
from lelp_jax.train.state import StepSpec

_VERSION = 3
# What training needs in a fleet's folder, and a finished fleet does not.
_UNFINISHED = ("checkpoints", "checkpoint_checksums", "checkpoints_set_aside")


@dataclasses.dataclass(frozen=True)
class Request:
    """A network that is wanted.

    Attributes:
        inputs: All it depends on, JSON-like.
        kind: Members of one kind share shapes and may train in one fleet.
        trial: Its trial's number.
        replicate: Its replicate's number.
        name: For the log ("lelp").
        steps: Length of its training, for the progress bar.
    """

    inputs: Mapping[str, Any]
    kind: Hashable
    trial: int
    replicate: int
    name: str
    steps: int

    @property
    def fingerprint(self) -> str:
        """The name of the trained network."""
        return artifacts.fingerprint({"version": _VERSION, **self.inputs})


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
        fingerprint: Names everything it depends on.
        folder: Folder of its fleet.
        position: Its place in the fleet.
        fleet_size: Members of the fleet.
        diverged: Whether training became non-finite.
        validation: Validation metrics.
        parameters: Number of parameters.
        train_seconds: Its share of the fleet's training time, compilation apart.
    """

    fingerprint: str
    folder: Path
    position: int
    fleet_size: int
    diverged: bool
    validation: Mapping[str, float]
    parameters: int
    train_seconds: float

    def load(self, spec: StepSpec, example: Any) -> Any:
        """Loads its parameters to the host.

        Args:
            spec: The program it was trained by.
            example: Inputs of any rows, [rows, features...].
        """
        example = jax.ShapeDtypeStruct((1, *example.shape[1:]), np.dtype(example.dtype))
        params = _load_fleet(self.folder, self.fleet_size, spec, example)
        return jax.tree.map(lambda leaf: leaf[self.position], params)


@functools.lru_cache(maxsize=2)
def _load_fleet(folder: Path, size: int, spec: StepSpec, example: jax.ShapeDtypeStruct) -> Any:
    """Loads the parameters of a whole fleet, whose members are usually read one after another."""
    from lelp_jax.core.checkpoint import load_tree

    single = trace_member(spec, example)
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape), x.dtype), single)
    try:
        return jax.device_get(load_tree(folder / "parameters", stacked))
    except Exception as error:  # Orbax raises bare Exceptions
        # The files are those that were written: what went wrong is outside of them.
        reason = " ".join(str(error).split())[:80]
        raise Unavailable(
            f"{folder / 'parameters'} cannot be read ({reason}); delete {folder} to train it again"
        ) from error


def find(root: Path, stage: str) -> dict[str, Trained]:
    """Finds all trained networks of a stage, by fingerprint; their files are not checked yet."""
    found = {}
    for folder, facts in artifacts.find_finished(root, stage):
        for position, member in enumerate(facts["members"]):
            found[member["fingerprint"]] = Trained(
                member["fingerprint"],
                folder,
                position,
                len(facts["members"]),
                member["diverged"],
                {
                    name: float("nan") if value is None else value
                    for name, value in member["validation"].items()
                },
                facts["parameters"],
                facts["train_seconds"],
            )
    return found


def _find_sound(root: Path, stage: str, requested: Sequence[str]) -> dict[str, Trained]:
    """Finds trained networks; deletes damaged fleets that hold requested ones."""
    while True:
        found = find(root, stage)
        used = {found[name].folder for name in requested if name in found}
        for folder in used:
            with artifacts.discard_if_damaged(folder):
                artifacts.check_files(folder)
        # Another fleet may hold the members of one that was deleted.
        if all(folder.is_dir() for folder in used):
            return found


def ensure(
    root: Path,
    stage: str,
    requests: Sequence[Request],
    capacity: Callable[[Request], int],
    make_job: Callable[[Sequence[Request]], FleetJob],
    session: Session,
) -> list[Trained]:
    """Trains the networks that are missing, and finds the others.

    Args:
        root: The workdir.
        stage: Its folder there, "teachers" or "students".
        requests: The requested networks.
        capacity: Largest fleet for networks like the one given.
        make_job: Reads what a fleet learns from; called only for fleets that must train.
        session: The run.

    Raises:
        Interrupted: The run was asked to stop.
    """
    names = [request.fingerprint for request in requests]
    trained = _find_sound(root, stage, names)
    missing = [r for r, name in zip(requests, names, strict=True) if name not in trained]
    _log_reuse(stage, requests, missing, session)
    first = {request.kind: request for request in reversed(missing)}
    blocks = plan.divide_into_fleets(
        [(request.kind, request.trial, request.replicate) for request in missing],
        {kind: 1 + max(r.trial for r in requests if r.kind == kind) for kind in first},
        {kind: capacity(request) for kind, request in first.items()},
    )
    with session.reporter.show_stage(stage, sum(request.steps for request in missing), "steps"):
        for block in blocks.values():
            session.interrupts.check()
            # Imported when needed: a run that has nothing to train starts without Orbax.
            from lelp_jax.train import loop

            members = [missing[position] for position in block]
            inputs = {"members": [request.fingerprint for request in members]}
            folder = root / stage / artifacts.fingerprint({"stage": stage, **inputs})
            folder.mkdir(parents=True, exist_ok=True)
            facts = loop.train(folder, make_job(members), session)
            artifacts.finish(folder, inputs, facts, unlisted=_UNFINISHED)
            for name in _UNFINISHED:
                shutil.rmtree(folder / name, ignore_errors=True)
    if missing:
        trained = find(root, stage)
    return [trained[name] for name in names]


def _log_reuse(
    stage: str, requests: Sequence[Request], missing: Sequence[Request], session: Session
) -> None:
    for name in dict.fromkeys(request.name for request in requests):
        total = sum(request.name == name for request in requests)
        left = sum(request.name == name for request in missing)
        session.reporter.log(f"{stage}: {name}: {left} to train, {total - left} reused")
