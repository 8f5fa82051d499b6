"""Weighs the diagnostics: signs for and against pseudo-subclasses, with the thresholds used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lelp_jax import methods
from lelp_jax.core import metrics
from lelp_jax.report.results.comparison import CONTROL
from lelp_jax.report.results.table import (
    explain_scope,
    find_unit,
    format_interval,
    format_number,
    is_known,
)

Facts = Mapping[str, Any]
FOR, AGAINST, OPEN = "for", "against", "open"
# Projectors that show what a wide head, arbitrary directions or the true subclasses are worth. They
# are controls, not methods to recommend.
_CONTROLS = ("oracle", "random_projection", CONTROL)
# A teacher with less than this share of the largest entropy is called confident.
_LOW_ENTROPY = 0.1
_MANY_CLASSES = 10
# The least distance from baseline to teacher, as a share, that leaves something to gain.
_LEAST_HEADROOM = 0.01
_SIGNIFICANT = 0.05


class Measure(NamedTuple):
    """A number in 0..1 and how to read it.

    Attributes:
        subject: What it measures.
        high: From this value on, it is a sign for pseudo-subclasses, or usual.
        low: Below this value, it is a sign against them.
        good: What a high value means.
        bad: What a low value means.
        is_sign: Whether a high value is a sign for pseudo-subclasses; otherwise it is merely usual.
    """

    subject: str
    high: float
    low: float
    good: str
    bad: str
    is_sign: bool = True


_CLUSTERS = Measure(
    "Agreement of clusters fitted to two halves of the data",
    high=0.4,
    low=0.3,
    good="The classes consist of clusters, which suits `soft_kmeans`.",
    bad="The clusters cut through one cloud, so `soft_kmeans` is unlikely to help.",
)
_SUBSPACES = Measure(
    "Agreement of LELP's subspaces fitted to two halves of the data",
    high=0.7,
    low=0.4,
    good="The subspaces are stable across halves of the data.",
    bad="The subspaces are not stable across halves of the data.",
    # Directions of largest variance are stable in any class with enough rows.
    is_sign=False,
)
_PREDICTABLE = Measure(
    "Predictability of the pseudo-subclasses of `{best}` from the input",
    high=0.4,
    low=0.2,
    good="A student can learn them.",
    bad="A small student may not be able to learn them.",
)
_FINE = Measure(
    "Agreement of clusters with the fine labels",
    high=0.4,
    low=0.1,
    good="The clusters are meaningful.",
    bad="The clusters do not match the fine labels.",
)
_OUTSIDE = Measure(
    "Share of the variance within classes that the output layer does not read",
    high=0.3,
    low=0.1,
    good="The embedding contains information that the probabilities do not.",
    bad="The probabilities already contain nearly all of it.",
    is_sign=False,
)


class Sign(NamedTuple):
    """One observation.

    Attributes:
        side: `FOR`, `AGAINST` or `OPEN`.
        text: A sentence in Markdown.
    """

    side: str
    text: str


def average(facts: Facts, *path: str) -> float | None:
    """Computes the mean over classes of an entry of `classes`; None if no class has it."""
    values: list[float] = []
    for entry in facts["classes"]:
        for key in path:
            entry = entry.get(key) if entry is not None else None
        if entry is not None:
            values.append(entry)
    return float(np.mean(values)) if values else None


def find_signs(facts: Facts, comparison: Mapping[str, Any]) -> list[Sign]:
    """Finds signs for and against pseudo-subclasses.

    Args:
        facts: The result of `diagnosis.diagnose`, or the same read from JSON.
        comparison: The result of `comparison.compare`, or the same read from JSON.

    Returns:
        The signs for, then those against, then open ones.
    """
    signs = [
        *_judge_splits(facts),
        *_judge_variance(facts),
        *_judge_probabilities(facts),
        *_judge_headroom(comparison),
        *_judge_control(comparison),
    ]
    return sorted(signs, key=lambda sign: (FOR, AGAINST, OPEN).index(sign.side))


def conclude(signs: list[Sign], comparison: Mapping[str, Any]) -> str:
    """Writes the conclusion. Measured differences take precedence over signs."""
    count = {side: sum(sign.side == side for sign in signs) for side in (FOR, AGAINST)}
    tally = f"Signs for pseudo-subclasses: {count[FOR]}, against: {count[AGAINST]}."
    baseline, differences = comparison["baseline"], _collect_differences(comparison)
    groups: dict[str, list[str]] = {
        "better than": [],
        "worse than": [],
        "not significantly different from": [],
    }
    direction = metrics.find_direction(comparison["metric"])
    for row in comparison["methods"]:
        projector = methods.find(row["method"]).projector
        if projector is None or projector.name in _CONTROLS:
            continue
        if row["method"] not in differences:
            continue
        if not is_known(row.get("p")) or row["p"] >= _SIGNIFICANT:
            group = "not significantly different from"
        elif direction * differences[row["method"]]["mean"] > 0:
            group = "better than"
        else:
            group = "worse than"
        groups[group].append(f"`{row['method']}`")
    if not any(groups.values()):
        advice = "worth a try" if count[FOR] > count[AGAINST] else "not the first thing to try"
        return f"{tally} This run measured no split; judging by the signs alone, one is {advice}."
    if comparison["scope"] == "too few replicates":
        return f"{tally} {explain_scope(comparison)}"
    measured = [
        f"{words} `{baseline}`: {', '.join(names)}" for words, names in groups.items() if names
    ]
    headroom = _compute_headroom(comparison)
    full = headroom is not None and headroom < _LEAST_HEADROOM
    return (
        f"{tally} The measured differences count for more: {'; '.join(measured)} (significant: "
        f"corrected p below {_SIGNIFICANT:g}, {comparison['replicates']} replicates). The signs "
        "describe the teacher's embedding; they do not tell whether a student with this number of "
        "training rows benefits from it."
        + (" With so little headroom below the teacher, no method can gain much." if full else "")
    )


def _grade(measure: Measure, value: float | None) -> list[Sign]:
    """Grades a measure; an unknown value gives no sign."""
    if value is None:
        return []
    above = "a sign for" if measure.is_sign else "usual"
    text = (
        f"{measure.subject}: {value:z.2f} ({measure.high:g} or more is {above}, below "
        f"{measure.low:g} a sign against)."
    )
    if value >= measure.high:
        return [Sign(FOR if measure.is_sign else OPEN, f"{text} {measure.good}")]
    if value < measure.low:
        return [Sign(AGAINST, f"{text} {measure.bad}")]
    return [Sign(OPEN, text)]


def _judge_splits(facts: Facts) -> list[Sign]:
    """Judges stability, predictability and meaning of the splits."""
    signs = _grade(_CLUSTERS, average(facts, "splits", "soft_kmeans", "stability"))
    signs += _grade(_SUBSPACES, average(facts, "splits", "lelp", "stability"))
    from_input = {
        name: average(facts, "splits", name, "from_input") for name in ("lelp", "soft_kmeans")
    }
    known = {name: value for name, value in from_input.items() if value is not None}
    if known:
        # One predictable split is enough, so the better one is graded.
        best = max(known, key=lambda name: known[name])
        subject = _PREDICTABLE.subject.format(best=best)
        signs += _grade(_PREDICTABLE._replace(subject=subject), known[best])
    return signs + _grade(_FINE, average(facts, "splits", "soft_kmeans", "fine"))


def _judge_variance(facts: Facts) -> list[Sign]:
    """Judges the variance outside the output layer, and the number of directions it fills."""
    signs = _grade(_OUTSIDE, average(facts, "outside", "held_out"))
    directions, count = average(facts, "effective_rank", "fit"), facts["num_subclasses"]
    if not count:
        text = "A class has too few rows or directions to be split, so no split was fitted."
        signs.append(Sign(AGAINST, text))
    elif directions is not None and count > 1.5 * directions:
        text = (
            f"{count} pseudo-subclasses are many for an effective rank of {directions:.1f}; try "
            f"`num_subclasses` of about {max(round(directions), 2)}."
        )
        signs.append(Sign(OPEN, text))
    return signs


def _judge_probabilities(facts: Facts) -> list[Sign]:
    """Judges how much the probabilities already tell a student."""
    signs, classes = [], len(facts["classes"])
    entropy = average(facts, "entropy", "held_out")
    if entropy is not None and entropy < _LOW_ENTROPY * np.log2(classes):
        text = (
            f"The teacher is confident: {entropy:z.2f} of {np.log2(classes):.2f} bits per row "
            f"(below {100 * _LOW_ENTROPY:g} %), so at temperature 1 its probabilities add little "
            "to the label."
        )
        signs.append(Sign(FOR, text))
    if classes >= _MANY_CLASSES:
        text = (
            f"There are {classes} classes ({_MANY_CLASSES} or more); the gain over plain "
            "distillation shrinks with the number of classes (Loo et al., section 5)."
        )
        signs.append(Sign(AGAINST, text))
    return signs


def _compute_headroom(comparison: Mapping[str, Any]) -> float | None:
    """Computes the distance from the baseline up to the teacher; None if it is not a share."""
    _, unit = find_unit(comparison["metric"])
    rows = {row["method"]: row for row in comparison["methods"]}
    value = rows.get(comparison["baseline"], {}).get("value")
    if not unit or not _is_known(value) or not _is_known({"mean": comparison["teacher"]}):
        return None
    return float(comparison["teacher"] - value["mean"])


def _judge_headroom(comparison: Mapping[str, Any]) -> list[Sign]:
    """Judges how much a method can gain at all: students rarely exceed their teacher."""
    headroom = _compute_headroom(comparison)
    if headroom is None:
        return []
    points = format_number(headroom, 1, 100)
    text = f"`{comparison['baseline']}` is {points} points below the teacher"
    bound = f"{100 * _LEAST_HEADROOM:g} or more is a sign for, less a sign against"
    return [Sign(FOR if headroom >= _LEAST_HEADROOM else AGAINST, f"{text} ({bound}).")]


def _judge_control(comparison: Mapping[str, Any]) -> list[Sign]:
    """Judges the gain over the random split, which has the wide head but no information.

    A method that beats the baseline but not the random split owes its gain to the larger head, not
    to the teacher's embedding. Each judgement is that of a paired test of the two methods in
    question: an interval that excludes 0.
    """
    metric, baseline = comparison["metric"], comparison["baseline"]
    _, unit = find_unit(metric)
    unit = " points" if unit else ""
    control = _collect_differences(comparison).get(CONTROL)
    if control is None:
        return []
    side, effect = _orient(control, comparison), format_interval(metric, control)
    text = f"({effect}{unit} compared to `{baseline}`)"
    if side > 0:
        text = f"The wide head alone helps {text}: not all gain is due to the embedding."
        signs = [Sign(OPEN, text)]
    elif side < 0:
        text = f"The wide head alone hurts {text}; a split has to make up for that first."
        signs = [Sign(AGAINST, text)]
    else:
        signs = [Sign(OPEN, f"The wide head alone has no clear effect {text}.")]
    gains = _collect_differences(comparison, "control_difference")
    for name in ("lelp", "soft_kmeans"):
        if name not in gains:
            continue
        side, effect = _orient(gains[name], comparison), format_interval(metric, gains[name])
        text = f"`{name}` minus the random split: {effect}{unit}"
        if side > 0:
            signs.append(Sign(FOR, f"{text}; the embedding adds to the wide head."))
        elif side < 0:
            signs.append(Sign(AGAINST, f"{text}; the split by the embedding is worse."))
        else:
            signs.append(Sign(OPEN, f"{text}; no clear difference."))
    return signs


def _collect_differences(
    comparison: Mapping[str, Any], key: str = "difference"
) -> dict[str, Mapping[str, float]]:
    """Collects the differences to the baseline, or those under another key, by method."""
    return {row["method"]: row[key] for row in comparison["methods"] if _is_known(row.get(key))}


def _is_known(interval: Mapping[str, float | None] | None) -> bool:
    """Checks that an interval has a mean: neither NaN nor None, as files hold NaN."""
    return interval is not None and is_known(interval["mean"])


def _orient(difference: Mapping[str, float | None], comparison: Mapping[str, Any]) -> int:
    """Returns 1 for a clear gain and -1 for a clear loss.

    0 if the interval contains 0, or if there is none.
    """
    low, high = difference["low"], difference["high"]
    if low is None or high is None:
        return 0
    return metrics.find_direction(comparison["metric"]) * (int(low > 0) - int(high < 0))
