"""What the corrections for a teacher that errs did, in a note on each corrected method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lelp_jax.methods import slam
from lelp_jax.students.grid import Student
from lelp_jax.students.selection import Outcome


def describe_corrections(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Describes the rows' trust or weights, by the name of each corrected method.

    Args:
        outcomes: All students; a note speaks of the selected ones and the rows that they see.
    """
    chosen: dict[str, list[Student]] = {}
    for outcome in outcomes:
        if outcome.selected:
            chosen.setdefault(outcome.student.method.name, []).append(outcome.student)
    notes = {}
    for name, students in chosen.items():
        if students[0].weighing is not None:
            notes[name] = _describe_weights(students)
        elif students[0].method.loss_constants == slam.CONSTANTS:
            notes[name] = _describe_trust(students)
    return notes


def _describe_weights(students: Sequence[Student]) -> str:
    weights = np.concatenate([each.weighing.weights for each in students if each.weighing])
    return (
        f"{100 * (weights < 1).mean():.1f} % of the rows weigh less than 1; weights are from "
        f"{weights.min():.2f} to {weights.max():.2f}"
    )


def _describe_trust(students: Sequence[Student]) -> str:
    trust, candidates = [], set()
    for each in students:
        replicate = each.replicate
        shown = replicate.list_shown(replicate.transfer)
        logits = replicate.bank.logits[replicate.bank.find_positions(shown)]
        trust.append(np.asarray(slam.find_trust(logits, each.constants, each.trial.traced)))
        candidates.add(int(each.constants[slam.CANDIDATES]))
    rows, counts = np.concatenate(trust), " or ".join(map(str, sorted(candidates)))
    return (
        f"the teacher is trusted to be right with probability {rows.min():.2f} to "
        f"{rows.max():.2f}, {rows.mean():.2f} on average; where it is not, the truth is taken "
        f"to be among its {counts} most probable classes"
    )
