"""What the diagnostics speak for and against, in words, with the thresholds that were used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lelp_jax.core import metrics
from lelp_jax.methods import METHODS
from lelp_jax.report.results.table import scale

Facts = Mapping[str, Any]
FOR, AGAINST, OPEN = "for", "against", "open"
# Projectors that tell what a wide head, any directions or the true subclasses are worth.
_CONTROLS = ("oracle", "random_projection", "random_split")
_SURE = 0.1
_MANY_CLASSES = 10
_ROOM = 0.01
_SIGNIFICANT = 0.05


class Measure(NamedTuple):
    """A number in 0..1 and how it is read.

    Attributes:
        subject: What it measures.
        high: From here on it counts as for, or is usual.
        low: Below it counts as against.
        good: What a high value means.
        bad: What a low value means.
        telling: Whether a high value counts as for.
    """

    subject: str
    high: float
    low: float
    good: str
    bad: str
    telling: bool = True


_CLUSTERS = Measure(
    "Clusters of two halves of the data agree",
    high=0.4,
    low=0.3,
    good="The classes do fall into clusters, which suits `soft_kmeans`.",
    bad="They cut through one cloud, so little is to be expected of `soft_kmeans`.",
)
_SUBSPACES = Measure(
    "LELP's subspaces of two halves of the data agree",
    high=0.7,
    low=0.4,
    good="The subspaces are stable across halves of the data.",
    bad="The subspaces are not stable across halves of the data.",
    telling=False,
)
_LEARNABLE = Measure(
    "Pseudo-subclasses, here those of `{best}`, are predicted from the input",
    high=0.4,
    low=0.2,
    good="A student can learn them.",
    bad="A small student may not learn them either.",
)
_FINE = Measure(
    "Clusters match the fine labels",
    high=0.4,
    low=0.1,
    good="They are meaningful.",
    bad="The clusters do not match the fine labels.",
)
_OUTSIDE = Measure(
    "Share of the variance within classes that the output layer does not read",
    high=0.3,
    low=0.1,
    good="The embedding holds something that the probabilities do not say.",
    bad="Nearly all of it reaches the probabilities already.",
    telling=False,
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
    """Returns the mean over classes of an entry of `classes`; None where no class has it."""
    values: list[float] = []
    for entry in facts["classes"]:
        for key in path:
            entry = entry.get(key) if entry is not None else None
        if entry is not None:
            values.append(entry)
    return float(np.mean(values)) if values else None


def signs(facts: Facts, comparison: Mapping[str, Any]) -> list[Sign]:
    """Returns what speaks for and against pseudo-subclasses.

    Args:
        facts: What `diagnostics.diagnose` returned, or the same read from JSON.
        comparison: What `comparison.compare` returned, or the same read from JSON.
    """
    found = [
        *_of_splits(facts),
        *_of_variance(facts),
        *_of_probabilities(facts),
        *_of_room(comparison),
        *_of_control(comparison),
    ]
    return sorted(found, key=lambda sign: (FOR, AGAINST, OPEN).index(sign.side))


def verdict(found: list[Sign], comparison: Mapping[str, Any]) -> str:
    """Returns the conclusion: what was measured counts, the signs where nothing was."""
    count = {side: sum(sign.side == side for sign in found) for side in (FOR, AGAINST)}
    tally = f"Signs for pseudo-subclasses: {count[FOR]}, against: {count[AGAINST]}."
    baseline, differences = comparison["baseline"], _differences(comparison)
    groups: dict[str, list[str]] = {"ahead of": [], "behind": [], "not told apart from": []}
    direction = metrics.direction(comparison["metric"])
    for row in comparison["methods"]:
        projector = METHODS[row["method"]].projector
        if projector is None or projector.name in _CONTROLS:
            continue
        if row["method"] not in differences:
            continue
        clear = row.get("p") is not None and row["p"] < _SIGNIFICANT
        better = direction * differences[row["method"]]["mean"] > 0
        place = "not told apart from" if not clear else "ahead of" if better else "behind"
        groups[place].append(f"`{row['method']}`")
    if not any(groups.values()):
        hope = "worth a try" if count[FOR] > count[AGAINST] else "not the first thing to try"
        return f"{tally} No split was measured here; by the signs alone it is {hope}."
    measured = [
        f"{words} `{baseline}`: {', '.join(names)}" for words, names in groups.items() if names
    ]
    room = _room(comparison)
    full = room is not None and room < _ROOM
    return (
        f"{tally} What was measured counts for more: {'; '.join(measured)} (corrected p below "
        f"{_SIGNIFICANT:g} tells apart, {comparison['replicates']} replicates). The signs say what "
        "the teacher's embedding holds, not that a student with this many rows gains by it."
        + (" With so little room below the teacher no method can gain much." if full else "")
    )


def _grade(measure: Measure, value: float | None) -> list[Sign]:
    """Grades a measure; one that is not known is no sign."""
    if value is None:
        return []
    above = "counts as for" if measure.telling else "is usual"
    text = (
        f"{measure.subject}: {value:.2f} ({measure.high:g} or more {above}, below "
        f"{measure.low:g} counts as against)."
    )
    if value >= measure.high:
        return [Sign(FOR if measure.telling else OPEN, f"{text} {measure.good}")]
    if value < measure.low:
        return [Sign(AGAINST, f"{text} {measure.bad}")]
    return [Sign(OPEN, text)]


def _of_splits(facts: Facts) -> list[Sign]:
    found = _grade(_CLUSTERS, average(facts, "splits", "soft_kmeans", "stability"))
    found += _grade(_SUBSPACES, average(facts, "splits", "lelp", "stability"))
    of_input = {
        name: average(facts, "splits", name, "from_input") for name in ("lelp", "soft_kmeans")
    }
    known = {name: value for name, value in of_input.items() if value is not None}
    if known:
        best = max(known, key=lambda name: known[name])
        subject = _LEARNABLE.subject.format(best=best)
        found += _grade(_LEARNABLE._replace(subject=subject), known[best])
    return found + _grade(_FINE, average(facts, "splits", "soft_kmeans", "fine"))


def _of_variance(facts: Facts) -> list[Sign]:
    found = _grade(_OUTSIDE, average(facts, "outside", "held_out"))
    directions, count = average(facts, "effective_rank", "fit"), facts["num_subclasses"]
    if not count:
        text = "A class has too few rows or directions to be split, so nothing was tried."
        found.append(Sign(AGAINST, text))
    elif directions is not None and count > 1.5 * directions:
        text = (
            f"{count} pseudo-subclasses are many for an effective rank of {directions:.1f}: try "
            f"`num_subclasses` of about {max(round(directions), 2)}."
        )
        found.append(Sign(OPEN, text))
    return found


def _of_probabilities(facts: Facts) -> list[Sign]:
    found, classes = [], len(facts["classes"])
    entropy = average(facts, "entropy", "held_out")
    if entropy is not None and entropy < _SURE * np.log2(classes):
        text = (
            f"The teacher is sure: {entropy:.2f} of {np.log2(classes):.2f} bits per row "
            f"(below {100 * _SURE:g} %), so at temperature 1 its probabilities say little beyond "
            "the label."
        )
        found.append(Sign(FOR, text))
    if classes >= _MANY_CLASSES:
        text = (
            f"There are {classes} classes ({_MANY_CLASSES} or more): the gain over plain "
            "distillation shrinks as classes grow in number (Loo et al., section 5)."
        )
        found.append(Sign(AGAINST, text))
    return found


def _room(comparison: Mapping[str, Any]) -> float | None:
    """Returns how far the baseline lies below the teacher, where the metric is a share."""
    _, unit = scale(comparison["metric"])
    rows = {row["method"]: row for row in comparison["methods"]}
    value = rows.get(comparison["baseline"], {}).get("value")
    if not unit or not _is_known(value) or not _is_known({"mean": comparison["teacher"]}):
        return None
    return float(comparison["teacher"] - value["mean"])


def _of_room(comparison: Mapping[str, Any]) -> list[Sign]:
    room = _room(comparison)
    if room is None:
        return []
    text = f"From `{comparison['baseline']}` up to the teacher there are {100 * room:.1f} points"
    bound = f"{100 * _ROOM:g} or more counts as for, fewer as against"
    return [Sign(FOR if room >= _ROOM else AGAINST, f"{text} ({bound}).")]


def _of_control(comparison: Mapping[str, Any]) -> list[Sign]:
    """Returns what the random split says: it has the wide head and no information."""
    factor, unit = scale(comparison["metric"])
    unit = " points" if unit else ""
    direction, baseline = metrics.direction(comparison["metric"]), comparison["baseline"]
    differences = _differences(comparison)
    control = differences.get("random_split")
    if control is None:
        return []
    low, high = _better(control, direction)
    effect = f"{factor * control['mean']:+.2f}{unit} against `{baseline}`"
    if low > 0:
        text = f"The wide head alone helps ({effect}): not all gain is due to the embedding."
        found = [Sign(OPEN, text)]
    elif high < 0:
        text = f"The wide head alone costs something ({effect}), which a split has to earn back."
        found = [Sign(AGAINST, text)]
    else:
        found = [Sign(OPEN, f"The wide head alone neither clearly helps nor harms ({effect}).")]
    for name in ("lelp", "soft_kmeans"):
        split = differences.get(name)
        if split is None:
            continue
        gain = split["mean"] - control["mean"]
        text = f"`{name}` minus the random split: {factor * gain:+.2f}{unit}"
        if _better(split, direction)[0] > high:
            found.append(Sign(FOR, f"{text}, their intervals lie apart."))
        elif direction * gain <= 0:
            found.append(Sign(AGAINST, f"{text}, so the embedding added nothing."))
        else:
            found.append(Sign(OPEN, f"{text}, their intervals overlap or are not known."))
    return found


def _differences(comparison: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Returns the differences to the baseline, of the methods that have one."""
    return {
        row["method"]: row["difference"]
        for row in comparison["methods"]
        if _is_known(row.get("difference"))
    }


def _is_known(interval: Mapping[str, float | None] | None) -> bool:
    """Tells whether there is a mean; NaN, null in files, stands for one that is not defined."""
    return interval is not None and interval["mean"] is not None and not np.isnan(interval["mean"])


def _better(difference: Mapping[str, float | None], direction: int) -> tuple[float, float]:
    """Returns the ends of an interval where more is better; NaN, which is in no order, for none."""
    ends = [difference["low"], difference["high"]]
    known = [float("nan") if end is None else direction * end for end in ends]
    return (known[0], known[1]) if direction > 0 else (known[1], known[0])
