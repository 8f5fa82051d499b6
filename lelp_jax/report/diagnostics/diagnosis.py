"""Measures of how well classes split into pseudo-subclasses, from the teacher's outputs alone.

LELP can help if three things hold: the embedding varies in directions that the output layer does
not read, this variation is a property of the data rather than of the sample, and a student can
predict it from its input. `diagnose` measures each of them; `verdict` weighs the measures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lelp_jax.bank.store import Bank
from lelp_jax.core import metrics, seeds
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.models.pixels import scale_pixels
from lelp_jax.projection.base import Projection, arrays_of
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report.diagnostics import probe, sample, verdict, word_counts
from lelp_jax.report.diagnostics.nearest import find_nearest
from lelp_jax.report.diagnostics.spectrum import compute_spectra
from lelp_jax.report.results import table

# Limits of the probe: training rows per class and in total, and features.
_PROBE_ROWS = 1000
_PROBE_ROWS_IN_ALL = 4000
_PROBE_FEATURES = 2048
# The tables list at most this many classes.
_MOST_CLASSES = 12
_EMBEDDING_HEAD = (
    "class",
    "rows",
    "outside %",
    "effective rank",
    "rank",
    "entropy, bits",
    "teacher accuracy %",
)
_SPLIT_HEAD = ("class", "split", "stability", "by chance", "predictability", "fine labels")

Splits = Mapping[str, Projection]


# The matrices are small: on a busy machine, BLAS threads that wait for each other cost far more
# time than they save.
@threadpool_limits.wrap(limits=1, user_api="blas")
def diagnose(
    dataset: Dataset, bank: Bank, *, num_subclasses: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Measures what a teacher's embedding contains beyond its probabilities.

    Projections are fitted to a sample of the training rows and measured on held-out validation
    rows, at most 2,000 rows per class each.

    Args:
        dataset: The data.
        bank: The teacher's outputs for training and validation rows.
        num_subclasses: Number of pseudo-subclasses per class; reduced if a class has too few rows
            or directions.
        seed: Seed of samples, rotations and centres.

    Returns:
        JSON-like: `rows`, `wanted` (the number of pseudo-subclasses asked for), `num_subclasses`
        (0 if the classes cannot be split), `dims` of the embedding, `of_texts` and `classes`, a
        list with one dictionary per class:

        - `name` and `rows`;
        - `outside`, the share of the class's variance in the null space of the output weights, and
          `effective_rank` and `rank` of that part (see `spectrum`);
        - `entropy`, the mean entropy of the teacher's probabilities in bits, and `correct`, its
          accuracy;
        - `splits`, by projector, on held-out rows: `stability`, the agreement of fits to two halves
          of the training rows (`lelp`: mean squared cosine of the principal angles between the
          subspaces, with its expected value `by_chance`; `soft_kmeans`: adjusted Rand index of the
          assignments); `from_input`, the gain over guessing of a ridge classifier that predicts the
          pseudo-subclass from the input, or from word counts of a text (see `probe`); `fine`, the
          adjusted mutual information with the fine labels;
        - `nearest`, the held-out rows nearest to each pseudo-subclass of `lelp` (see `nearest`).

        Most are dictionaries with `fit` and `held_out`. A measure that needs more rows is None.
    """
    fit = sample.draw(dataset, bank, dataset.labelled_train, seeds.derive(seed, "fit"))
    held_out = sample.draw(dataset, bank, dataset.validation, seeds.derive(seed, "held out"))
    weights = bank.output_weights
    halves = sample.split_in_halves(fit, seeds.derive(seed, "halves"))
    count = min(sample.limit_subclasses(half, weights, num_subclasses) for half in halves)
    # One pseudo-subclass is the class itself, so there would be no split to measure.
    count = count if count >= 2 else 0
    splits: list[Splits] = []
    if count:
        # The halves share a seed, so that their fits differ because of the rows and nothing else.
        start = seeds.derive(seed, "splits")
        splits = [sample.fit(rows, weights, count, start) for rows in (fit, *halves)]
    classes: list[dict[str, Any]] = [{"name": name} for name in dataset.class_names]
    for part, rows in (("fit", fit), ("held_out", held_out)):
        measures = _measure_classes(dataset, bank, rows)
        for entry, measured in zip(classes, measures, strict=True):
            for key, value in measured.items():
                entry.setdefault(key, {})[part] = value
    ranks = [spectrum.rank for spectrum in compute_spectra(fit, weights)]
    for number, entry in enumerate(classes):
        entry["rank"] = ranks[number]
        fitted, unseen = (_select_class(rows, number) for rows in (fit, held_out))
        entry["splits"] = _measure_splits(dataset, fitted, unseen, splits, number, ranks[number])
        entry["nearest"] = find_nearest(splits[0]["lelp"], unseen, number) if splits else []
    return {
        "rows": {"fit": len(fit), "held_out": len(held_out)},
        "wanted": num_subclasses,
        "num_subclasses": count,
        "dims": len(weights),
        "of_texts": dataset.of_texts,
        "classes": classes,
    }


def _select_class(rows: EmbeddedRows, label: int) -> EmbeddedRows:
    return rows.part(np.flatnonzero(rows.label == label))


def _measure_classes(
    dataset: Dataset, bank: Bank, rows: EmbeddedRows
) -> list[dict[str, float | int | None]]:
    """Measures the variance of each class and the teacher's probabilities for its rows."""
    log_probability = metrics.log_softmax(bank.logits[bank.find_positions(rows.index)])
    entropy = -(np.exp(log_probability) * log_probability).sum(axis=1) / np.log(2)
    correct = log_probability.argmax(axis=1) == rows.label
    result = []
    for number, spectrum in enumerate(compute_spectra(rows, bank.output_weights)):
        member = rows.label == number
        enough = member.sum() >= 2
        result.append(
            {
                "rows": int(member.sum()),
                "outside": spectrum.share if enough else None,
                "effective_rank": spectrum.effective_rank if enough else None,
                "entropy": float(entropy[member].mean()) if enough else None,
                "correct": float(correct[member].mean()) if enough else None,
            }
        )
    return result


def _measure_splits(
    dataset: Dataset,
    fit: EmbeddedRows,
    held_out: EmbeddedRows,
    splits: list[Splits],
    label: int,
    rank: int,
) -> dict[str, dict[str, float | None]]:
    """Measures the splits of one class; empty if the class has too few held-out rows.

    Args:
        dataset: The data.
        fit: Rows of the class that the splits were fitted to.
        held_out: Other rows of the class.
        splits: Projections by name, fitted to all rows and to each of two halves.
        label: The class.
        rank: Number of directions that a subspace of the class can take.
    """
    if not splits or len(held_out) < sample.LEAST_ROWS * splits[0]["lelp"].column_mask.shape[1]:
        return {}
    from sklearn.metrics import adjusted_rand_score

    probed = fit.part(slice(min(_PROBE_ROWS, _PROBE_ROWS_IN_ALL // dataset.num_classes)))
    inputs, test_inputs = _read_inputs(dataset, probed.index, held_out.index)
    result: dict[str, dict[str, float | None]] = {}
    for name in sample.SPLITS:
        whole, *parts = (projections[name] for projections in splits)
        subclass = sample.assign_subclasses(whole, held_out)
        if name == "lelp":
            bases = [arrays_of(part)["basis"][label].astype(np.float64) for part in parts]
            width = bases[0].shape[1]
            # The singular values of B1'B2 are the cosines of the principal angles, so its squared
            # Frobenius norm is the sum of their squares: width / rank per angle for random bases.
            stability = float(np.square(bases[0].T @ bases[1]).sum() / width)
            by_chance = width / rank
        else:
            # Two fits number their clusters differently. The Rand index ignores the numbers, and
            # its adjustment makes 0 the value by chance.
            first, second = (sample.assign_subclasses(part, held_out) for part in parts)
            stability, by_chance = float(adjusted_rand_score(first, second)), 0.0
        result[name] = {
            "stability": stability,
            "by_chance": by_chance,
            "from_input": probe.measure_gain_over_guessing(
                inputs, sample.assign_subclasses(whole, probed), test_inputs, subclass
            ),
            "fine": _measure_fine_agreement(held_out, subclass),
        }
    return result


def _read_inputs(
    dataset: Dataset, index: np.ndarray, test_index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Reads the probe's features of rows to fit and of rows to predict, [n, features] each.

    Numeric rows and images with too many features are thinned out evenly; pixels are in the scale
    that networks see. Texts become counts of words and
    word pairs; at most `max_length` words are read, since networks see no more tokens than that.
    """
    if dataset.of_texts:
        texts, length = dataset.inputs, dataset.max_length
        return word_counts.compute_features(
            texts[index], texts[test_index], _PROBE_FEATURES, length
        )
    features = dataset.inputs.reshape(len(dataset.inputs), -1)
    features = features[:, :: -(-features.shape[1] // _PROBE_FEATURES)]
    return scale_pixels(features[index]), scale_pixels(features[test_index])


def _measure_fine_agreement(rows: EmbeddedRows, subclass: np.ndarray) -> float | None:
    """Computes the adjusted mutual information of pseudo-subclasses and fine labels."""
    from sklearn.metrics import adjusted_mutual_info_score

    if rows.fine_label is None:
        return None
    known = rows.fine_label != UNLABELLED
    fine, count = rows.fine_label[known], len(np.unique(rows.fine_label[known]))
    if count < 2 or len(fine) < sample.LEAST_ROWS * count:
        return None
    return float(adjusted_mutual_info_score(fine, subclass[known]))


def render(facts: Mapping[str, Any], comparison: Mapping[str, Any]) -> list[str]:
    """Renders tables, signs and conclusion as lines of Markdown, without a heading.

    Args:
        facts: The result of `diagnose`, or the same read from JSON.
        comparison: The result of `comparison.compare`, or the same read from JSON.
    """
    classes = facts["classes"][:_MOST_CLASSES]
    bits = np.log2(len(facts["classes"]))
    lines = [
        "These measures show what the embedding of one teacher contains beyond its probabilities, "
        f"on {facts['rows']['fit']} training rows (fit) and {facts['rows']['held_out']} validation "
        "rows (held out). Cells with two values are fit / held out.",
        "",
        *_format_table(_EMBEDDING_HEAD, [_format_embedding_row(entry) for entry in classes], 1),
        "",
        "- outside: share of the class's variance in the null space of the output weights; the "
        f"embedding has {facts['dims']} dimensions",
        "- effective rank of that part: exponential of the entropy of its normalised eigenvalues "
        "(Roy and Vetterli, 2007)",
        "- rank: the largest number of directions that LELP can use",
        "- entropy of the teacher's probabilities: all that plain distillation passes on at "
        f"temperature 1, the label included; at most {bits:.2f} bits",
    ]
    probed = "counts of words and word pairs" if facts["of_texts"] else "the input"
    cells = [row for entry in classes for row in _format_split_rows(entry)]
    if cells:
        lines += [
            "",
            f"Each class is split into {facts['num_subclasses']} pseudo-subclasses and measured on "
            "held-out rows. 1 is the largest value of each measure. A cell is empty if there are "
            "too few rows or labels.",
            "",
            *_format_table(_SPLIT_HEAD, cells, 2),
            "",
            "- stability: agreement of two fits, each to one half of the training rows (`lelp`: "
            "mean squared cosine of the principal angles between the subspaces; `soft_kmeans`: "
            "adjusted Rand index of the assignments)",
            "- by chance: the stability of random subspaces or assignments",
            f"- predictability: how far a ridge classifier on {probed} gets from guessing the most "
            "frequent pseudo-subclass (0) to certainty (1)",
            "- fine labels: adjusted mutual information with the fine labels (0: chance)",
        ]
    left_out = len(facts["classes"]) - len(classes)
    if left_out:
        lines += [
            "",
            f"The tables leave out {left_out} more classes; the means below include them.",
        ]
    signs = verdict.find_signs(facts, comparison)
    lines += ["", "Signs for and against pseudo-subclasses, from means over classes:", ""]
    lines += [f"- {sign.side}: {sign.text}" for sign in signs]
    return [*lines, "", verdict.conclude(signs, comparison)]


def _format_embedding_row(entry: Mapping[str, Any]) -> list[str]:
    return [
        entry["name"],
        _format_pair(entry["rows"], "{:d}"),
        _format_pair(entry["outside"], "{:z.0%}").replace("%", ""),
        _format_pair(entry["effective_rank"], "{:z.1f}"),
        str(entry["rank"]),
        _format_pair(entry["entropy"], "{:z.3f}"),
        _format_pair(entry["correct"], "{:z.1%}").replace("%", ""),
    ]


def _format_split_rows(entry: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            entry["name"],
            name,
            *(
                "" if values[key] is None else f"{values[key]:z.2f}"
                for key in ("stability", "by_chance", "from_input", "fine")
            ),
        ]
        for name, values in entry["splits"].items()
    ]


def _format_pair(values: Mapping[str, float | None], form: str) -> str:
    return " / ".join(
        "-" if values[part] is None else form.format(values[part]) for part in ("fit", "held_out")
    )


def _format_table(head: Sequence[str], rows: Sequence[Sequence[str]], num_names: int) -> list[str]:
    """Formats a Markdown table whose first columns are names and the others numbers."""
    lines = ["| " + " | ".join(map(table.escape_cell, row)) + " |" for row in (head, *rows)]
    alignment = " :--- |" * num_names + " ---: |" * (len(head) - num_names)
    return [lines[0], "|" + alignment, *lines[1:]]
