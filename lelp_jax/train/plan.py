"""How large a fleet is and how many steps one dispatch does: rules, not timings.

The same members give the same plan on the same kind of machine, so a resumed run continues with the
very program it was stopped in.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

_MEMBERS = {"cpu": 32}
_MEMBERS_ON_ACCELERATORS = 256
# Work of one dispatch: about a second on two CPU cores, so that progress is seen and Ctrl-C heard.
_FLOPS = {"cpu": 2e10}
_FLOPS_ON_ACCELERATORS = 2e13
_MAX_STEPS = 1000
# Work of one step that leaves a device nothing to gain from more members: of transformers on two
# CPU cores, lone ones are about as fast as fleets at 1e9, and 1.4 times as fast at 2.5e9.
_BUSY = {"cpu": 2e9}
_BUSY_ON_ACCELERATORS = 2e13
# Of convolutional networks. The convolutions of a fleet are products with patches of the images,
# which have nine times as many numbers: on two CPU cores, eight members together are as fast as
# lone ones at 1e8, and take 1.4 times as long at 4e8.
_BUSY_BY_IMAGES = {"cpu": 2e8}
# Parameters, their gradient and two moments, and a share for activations that nobody counted.
_COPIES = 6
# What is frozen: its group's copy and the member's own.
_FROZEN_COPIES = 2
_BYTES_PER_MEMBER_AXIS = 2 << 30
_BYTES_OF_TARGETS = 256 << 20

Key = TypeVar("Key", bound=Hashable)


def members_per_program(
    parameters: int,
    work: int,
    platform: str,
    frozen: int = 0,
    *,
    activations: int = 0,
    keeps_best: bool = False,
) -> int:
    """Computes the size of the largest fleet.

    Args:
        parameters: Parameters of one member.
        work: Operations of one member's step. What keeps the device busy alone trains alone.
        platform: "cpu", "gpu" or "tpu".
        frozen: Parameters that a member reads in every step and never changes.
        activations: Numbers that a convolutional network's forward pass keeps for the gradient; 0
            for other networks, which keep few beside their parameters.
        keeps_best: Whether its best parameters are kept beside the latest.
    """
    limit = _MEMBERS.get(platform, _MEMBERS_ON_ACCELERATORS)
    numbers = (_COPIES + keeps_best) * parameters + _FROZEN_COPIES * frozen + activations
    by_platform = _BUSY_BY_IMAGES if activations else _BUSY
    busy = by_platform.get(platform, _BUSY_ON_ACCELERATORS) // work
    return max(1, min(limit, _BYTES_PER_MEMBER_AXIS // (4 * numbers), int(busy)))


def steps_per_dispatch(
    work: int, members: int, steps: int, platform: str, spacing: int, run: int
) -> int:
    """Computes how many steps one call of the compiled program does.

    All calls are equally long, so that there is one program: the last one may do steps beyond the
    end, which change nothing.

    Args:
        work: Operations of one member's step.
        members: Fleet size.
        steps: Length of training.
        platform: "cpu", "gpu" or "tpu".
        spacing: Steps between evaluations, which fall between two calls; 0 without any.
        run: Steps in a row that a call must not reach across; 0 without any.
    """
    limit = int(_FLOPS.get(platform, _FLOPS_ON_ACCELERATORS) // (work * members))
    longest = max(1, min(limit, _MAX_STEPS, steps))
    whole = math.gcd(spacing, run)
    if not whole:
        return math.ceil(steps / math.ceil(steps / longest))
    return max(n for n in range(1, min(longest, whole) + 1) if whole % n == 0)


def precomputes_targets(num_rows: int, num_seen: int, numbers: int) -> bool:
    """Decides whether the targets of all rows are computed before the steps that see them.

    Args:
        num_rows: Rows that a member may see.
        num_seen: Rows that the steps of one dispatch see, those seen again counted again.
        numbers: Numbers that the targets of all members have.
    """
    return num_rows <= num_seen and 4 * numbers <= _BYTES_OF_TARGETS


def divide_into_fleets(
    coordinates: Iterable[tuple[Key, int, int]],
    num_trials: Mapping[Key, int],
    capacity: Mapping[Key, int],
) -> dict[tuple[Key, int, int], list[int]]:
    """Divides members into fleets.

    A fleet is a block of trials times replicates whose place does not depend on which other
    members there are or which are already trained: a run that was stopped, or that was extended
    by replicates, forms the same blocks again.

    Args:
        coordinates: Per member the group of those that share shapes, its trial and its replicate.
        num_trials: Number of trials of each group.
        capacity: Largest fleet of each group.

    Returns:
        Positions of the members in `coordinates`, by block, in a fixed order.
    """
    result: dict[tuple[Key, int, int], list[int]] = {}
    for position, (key, trial, replicate) in enumerate(coordinates):
        trials = min(num_trials[key], capacity[key])
        replicates = max(1, capacity[key] // trials)
        result.setdefault((key, trial // trials, replicate // replicates), []).append(position)
    return result
