"""The stage of the references: fits them, and predicts the test rows.

Their hyperparameters are chosen on the validation rows, as those of methods are.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lelp_jax.core import artifacts, metrics
from lelp_jax.core.arrays import read_array, write_array
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.run import Run
from lelp_jax.references import linear
from lelp_jax.references.linear import Examples
from lelp_jax.students.replicates import Replicate
from lelp_jax.students.selection import choose_by_validation
from lelp_jax.train import class_weights

_LOG = logging.getLogger(__name__)
STAGE = "references"
_VERSION = 1
MAJORITY, LINEAR, LINEAR_ALL = "majority", "linear", "linear_all_rows"


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A reference fitted to the rows of one replicate.

    Attributes:
        validation: Validation metrics.
        test_logits: Class logits of the test rows, [rows, classes] float32.
        parameters: Number of parameters.
        train_seconds: Time of the fit.
    """

    validation: Mapping[str, float]
    test_logits: np.ndarray
    parameters: int
    train_seconds: float


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference, fitted for every replicate.

    Attributes:
        name: `MAJORITY`, `LINEAR` or `LINEAR_ALL`.
        fingerprint: Names the artifact that it is a part of.
        hyperparameters: What was chosen on the validation rows.
        note: What a reader should know about it, or why it could not be fitted; empty if nothing.
        replicates: The replicates.
        fits: One per replicate; none if it could not be fitted.
    """

    name: str
    fingerprint: str
    hyperparameters: Mapping[str, Any]
    note: str
    replicates: tuple[Replicate, ...]
    fits: tuple[Fitted, ...]


def ensure(run: Run, replicates: Sequence[Replicate]) -> list[Reference]:
    """Fits the references, or reuses those of an earlier launch.

    `majority` gives every row the shares of the classes among the training rows. `linear` is a
    logistic regression on the labelled rows of the replicate, `linear_all_rows` one on all labelled
    training rows, the teacher's. Their penalty, and for texts the length of terms, is the one with
    the best mean validation metric over the replicates, as for methods. The test rows are predicted
    after that.

    Args:
        run: The run.
        replicates: The replicates, whose rows the students see.

    Returns:
        `majority`, `linear` and `linear_all_rows`.

    Raises:
        Interrupted: The run was asked to stop.
    """
    run.session.interrupts.check()
    config, dataset, inputs = run.config, run.dataset, run.inputs
    # Students that read tokens see texts; all others see numbers, of which texts may be the source.
    of_texts = config.view.kind == "tokens"
    # Where labels are hidden, equally many are known of each class in every replicate.
    known = replicates[0].dataset
    weights = class_weights.weigh_classes(known, config.student.train.class_weights)
    key = {
        "version": _VERSION,
        "data": dataset.digest,
        "inputs": "texts" if of_texts else inputs.fingerprint,
        "class_weights": weights.tolist(),
        "metric": config.report.selection_metric,
        # They determine the rows of the replicates.
        "transfer_size": len(replicates[0].transfer),
        "seeds": [replicate.seed for replicate in replicates],
        **({} if known is dataset else {"known": [each.dataset.digest for each in replicates]}),
    }

    def build(folder: Path) -> Mapping[str, Any]:
        # The labels that any replicate knows; each is fitted to rows whose labels it knows itself.
        labels = np.maximum.reduce([replicate.dataset.labels for replicate in replicates])
        examples = Examples(dataset.inputs if of_texts else inputs.values, labels, weights)
        labelled = [replicate.dataset.labelled_train for replicate in replicates]
        transfers = [each.dataset.select_labelled(each.transfer) for each in replicates]
        fitted = [
            (MAJORITY, _count_classes(run, known, len(replicates))),
            (LINEAR, _fit_linear(run, examples, LINEAR, transfers)),
            (LINEAR_ALL, _fit_linear(run, examples, LINEAR_ALL, labelled)),
        ]
        for name, (_, logits) in fitted:
            write_array(folder / f"{name}.npy", logits)
        return {"references": [{"name": name, **facts} for name, (facts, _) in fitted]}

    def load(folder: Path, facts: Mapping[str, Any]) -> list[Reference]:
        return [_read(folder, entry, replicates) for entry in facts["references"]]

    return artifacts.run(run.root, STAGE, key, build, load)


def _read(folder: Path, facts: Mapping[str, Any], replicates: Sequence[Replicate]) -> Reference:
    logits = read_array(folder / f"{facts['name']}.npy")
    fits = [
        Fitted(
            {
                name: float("nan") if value is None else value
                for name, value in fit["validation"].items()
            },
            test_logits,
            fit["parameters"],
            fit["train_seconds"],
        )
        for fit, test_logits in zip(facts["fits"], logits, strict=True)
    ]
    return Reference(
        name=facts["name"],
        fingerprint=folder.name,
        hyperparameters=facts["hyperparameters"],
        note=facts["note"],
        replicates=tuple(replicates),
        fits=tuple(fits[position] for position in facts["of_replicate"]),
    )


def _count_classes(
    run: Run, dataset: Dataset, replicates: int
) -> tuple[Mapping[str, Any], np.ndarray]:
    """Computes the shares of the classes, the same for all replicates; see `_fit_linear`."""
    counts = np.bincount(dataset.labels[dataset.labelled_train], minlength=dataset.num_classes)
    shares = np.log(counts / counts.sum()).astype(np.float32)
    fit = _describe(run, np.tile(shares, (len(dataset.validation), 1)), 0, 0.0)
    facts = {"hyperparameters": {}, "note": "", "fits": [fit], "of_replicate": [0] * replicates}
    return facts, np.tile(shares, (1, len(dataset.test), 1))


def _fit_linear(
    run: Run, examples: Examples, name: str, row_sets: Sequence[np.ndarray]
) -> tuple[Mapping[str, Any], np.ndarray]:
    """Chooses the hyperparameters of a logistic regression and fits it to the rows of replicates.

    Args:
        run: The run.
        examples: The rows.
        name: The reference's name, for the log.
        row_sets: The labelled rows of each replicate.

    Returns:
        The facts to store, and the test logits of each fit, [fits, rows, classes].
    """
    dataset, session = run.dataset, run.session
    # Replicates that see all rows share one fit.
    distinct = {rows.tobytes(): rows for rows in row_sets}
    sets, places = list(distinct.values()), {key: place for place, key in enumerate(distinct)}
    chosen, notes = None, ["a replicate has no labelled row to fit it to"]
    if all(map(len, sets)):
        chosen, notes = _choose(run, examples, sets)
    fits, logits, unfinished = [], [], 0
    if chosen is not None:
        limited = linear.limit_rows(examples, sets, choosing=False)
        with session.reporter.show_stage(STAGE, len(limited), "fits"):
            for rows in limited:
                session.interrupts.check()
                start = time.perf_counter()
                fitted = linear.fit_linear(examples, rows, chosen)
                seconds = time.perf_counter() - start
                unfinished += not fitted.converged
                held_out = fitted.predict(examples.inputs[dataset.validation])
                fits.append(_describe(run, held_out, fitted.parameters, seconds))
                logits.append(fitted.predict(examples.inputs[dataset.test]))
                session.reporter.advance(1)
        notes += _compare_sizes("fitted to", limited, sets)
        if unfinished:
            notes.append(f"{unfinished} of {len(limited)} fits ended before they had converged")
    for note in notes:
        _LOG.warning("%s: %s", name, note)
    facts = {
        "hyperparameters": chosen or {},
        "note": "; ".join(notes),
        "fits": fits,
        "of_replicate": [places[rows.tobytes()] for rows in row_sets] if fits else [],
    }
    shape = (len(fits), len(dataset.test), dataset.num_classes)
    return facts, np.array(logits, np.float32).reshape(shape)


def _choose(
    run: Run, examples: Examples, row_sets: Sequence[np.ndarray]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Chooses the hyperparameters with the best mean validation metric; lists what to note.

    If the metric is not defined on the validation rows, nothing is chosen and the note says so.
    """
    limited = linear.limit_rows(examples, row_sets, choosing=True)
    scores = []
    with run.session.reporter.show_stage(STAGE, len(limited), "choices"):
        for rows in limited:
            run.session.interrupts.check()
            scores.append(linear.score_candidates(examples, rows, run.dataset.validation))
            run.session.reporter.advance(1)
    by_candidate = dict(enumerate(zip(*scores, strict=True)))
    metric = run.config.report.selection_metric
    number = choose_by_validation(by_candidate, metric)
    if number is None:
        return None, [f"{metric} is not defined on the validation rows, so nothing was chosen"]
    return (
        linear.list_candidates(examples.kind)[number],
        _compare_sizes("its hyperparameters were chosen on", limited, row_sets),
    )


def _compare_sizes(
    what: str, limited: Sequence[np.ndarray], row_sets: Sequence[np.ndarray]
) -> list[str]:
    """Notes that fewer rows were used than there are."""
    used, largest = max(map(len, limited)), max(map(len, row_sets))
    if used == largest:
        return []
    return [f"{what} {used:,} of {largest:,} rows, drawn at random to limit its time"]


def _describe(run: Run, logits: np.ndarray, parameters: int, seconds: float) -> dict[str, Any]:
    """Describes a fit by its validation logits, [rows, classes], and its costs."""
    return {
        "validation": metrics.evaluate(logits, run.dataset.labels[run.dataset.validation]),
        "parameters": parameters,
        "train_seconds": seconds,
    }
