"""Signs for and against pseudo-subclasses, from the teacher's answers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from lelp_jax.bank.store import Bank
from lelp_jax.core import metrics, seeds
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.projection.base import Projection, arrays_of
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report.diagnostics import probe, sample, verdict, word_counts
from lelp_jax.report.diagnostics.spectrum import spectra
from lelp_jax.report.results import table

# The probe takes at most as many, of a class and of all, and as many features.
_PROBE_ROWS = 1000
_PROBE_ROWS_IN_ALL = 4000
_PROBE_FEATURES = 2048
# The tables name at most as many classes.
_SHOWN = 12
_EMBEDDING_HEAD = (
    "class",
    "rows",
    "outside %",
    "effective rank",
    "rank",
    "entropy, bits",
    "teacher right %",
)
_SPLIT_HEAD = ("class", "split", "two halves agree", "by chance", "told from input", "fine labels")

Splits = Mapping[str, Projection]


# The matrices are small: on a busy machine, threads that wait for each other take far longer.
@threadpool_limits.wrap(limits=1, user_api="blas")
def diagnose(
    dataset: Dataset, bank: Bank, *, num_subclasses: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Measures what a teacher's embedding offers beside its probabilities.

    Training rows are fitted and looked at, validation rows are held out; at most 2,000 of every
    class.

    Args:
        dataset: The data.
        bank: The teacher's answers to training and validation rows.
        num_subclasses: How many pseudo-subclasses are wanted per class; fewer are taken where a
            class has not rows or directions enough.
        seed: Seed of draws, rotations and centres.

    Returns:
        JSON-like: `rows`, `wanted`, `num_subclasses` (0 where classes cannot be split), `dims` of
        the embedding, `of_texts` and `classes`, a list with a dictionary per class:
        `name` and `rows`;
        `outside`, the share of the embedding's variance within the class that lies in the null
        space of the output weights, `effective_rank` and `rank` of that part (`spectrum`);
        `entropy`, the mean entropy of the teacher's probabilities in bits, and `correct`, the share
        of rows that the teacher gets right;
        `splits`, by projector, of held-out rows: `stability` of what two halves of the training
        rows find (of `lelp` the mean squared cosine of the principal angles between the two
        subspaces, whose value `by_chance` is given; of `soft_kmeans` the adjusted Rand index of the
        two assignments), `from_input`, how much better than by guessing the most frequent one a
        ridge classifier tells the pseudo-subclass from the input (1: always right, 0: no better;
        texts by how often they hold words and pairs of words), and `fine`, the adjusted mutual
        information with the fine labels.
        Most are dictionaries with `fit` and `held_out`. None where there are too few rows.
    """
    fit = sample.draw(dataset, bank, dataset.labelled_train, seeds.derive(seed, "fit"))
    held_out = sample.draw(dataset, bank, dataset.validation, seeds.derive(seed, "held out"))
    weights = bank.output_weights
    halves = sample.halves(fit, seeds.derive(seed, "halves"))
    count = min(sample.most_subclasses(half, weights, num_subclasses) for half in halves)
    count = count if count >= 2 else 0
    splits: list[Splits] = []
    if count:
        # One seed for the two halves: what differs shall be due to the rows.
        start = seeds.derive(seed, "splits")
        splits = [sample.fit(rows, weights, count, start) for rows in (fit, *halves)]
    classes: list[dict[str, Any]] = [{"name": name} for name in dataset.class_names]
    for part, rows in (("fit", fit), ("held_out", held_out)):
        for entry, own in zip(classes, _of_class(dataset, bank, rows), strict=True):
            for key, value in own.items():
                entry.setdefault(key, {})[part] = value
    ranks = [spectrum.rank for spectrum in spectra(fit, weights)]
    for number, entry in enumerate(classes):
        entry["rank"] = ranks[number]
        seen, unseen = (_rows_of(rows, number) for rows in (fit, held_out))
        entry["splits"] = _separability(dataset, seen, unseen, splits, number, ranks[number])
    return {
        "rows": {"fit": len(fit), "held_out": len(held_out)},
        "wanted": num_subclasses,
        "num_subclasses": count,
        "dims": len(weights),
        "of_texts": dataset.of_texts,
        "classes": classes,
    }


def _rows_of(rows: EmbeddedRows, label: int) -> EmbeddedRows:
    return rows.part(np.flatnonzero(rows.label == label))


def _of_class(
    dataset: Dataset, bank: Bank, rows: EmbeddedRows
) -> list[dict[str, float | int | None]]:
    log_probability = metrics.log_softmax(bank.logits[bank.position(rows.index)])
    entropy = -(np.exp(log_probability) * log_probability).sum(axis=1) / np.log(2)
    correct = log_probability.argmax(axis=1) == rows.label
    result = []
    for number, spectrum in enumerate(spectra(rows, bank.output_weights)):
        own = rows.label == number
        enough = own.sum() >= 2
        result.append(
            {
                "rows": int(own.sum()),
                "outside": spectrum.share if enough else None,
                "effective_rank": spectrum.effective_rank if enough else None,
                "entropy": float(entropy[own].mean()) if enough else None,
                "correct": float(correct[own].mean()) if enough else None,
            }
        )
    return result


def _separability(
    dataset: Dataset,
    fit: EmbeddedRows,
    held_out: EmbeddedRows,
    splits: list[Splits],
    label: int,
    rank: int,
) -> dict[str, dict[str, float | None]]:
    if not splits or len(held_out) < sample.LEAST_ROWS * splits[0]["lelp"].column_mask.shape[1]:
        return {}
    from sklearn.metrics import adjusted_rand_score

    probed = fit.part(slice(min(_PROBE_ROWS, _PROBE_ROWS_IN_ALL // dataset.num_classes)))
    seen, unseen = _inputs(dataset, probed.index, held_out.index)
    result: dict[str, dict[str, float | None]] = {}
    for name in sample.SPLITS:
        whole, *parts = (projections[name] for projections in splits)
        found = sample.subclass(whole, held_out)
        if name == "lelp":
            bases = [arrays_of(part)["basis"][label].astype(np.float64) for part in parts]
            width = bases[0].shape[1]
            stability = float(np.square(bases[0].T @ bases[1]).sum() / width)
            by_chance = width / rank
        else:
            first, second = (sample.subclass(part, held_out) for part in parts)
            stability, by_chance = float(adjusted_rand_score(first, second)), 0.0
        result[name] = {
            "stability": stability,
            "by_chance": by_chance,
            "from_input": probe.gain_over_guessing(
                seen, sample.subclass(whole, probed), unseen, found
            ),
            "fine": _fine_agreement(held_out, found),
        }
    return result


def _inputs(
    dataset: Dataset, seen: np.ndarray, unseen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of seen and unseen rows, [n, features], as many as the probe takes.

    Of numbers they are evenly spread over the row. Of texts they are counts of words and pairs of
    words; a text is read as many words far as networks see tokens of it.
    """
    if dataset.of_texts:
        texts, longest = dataset.inputs, dataset.max_length
        return word_counts.features(texts[seen], texts[unseen], _PROBE_FEATURES, longest)
    features = dataset.inputs.reshape(len(dataset.inputs), -1)
    features = features[:, :: -(-features.shape[1] // _PROBE_FEATURES)]
    return features[seen], features[unseen]


def _fine_agreement(rows: EmbeddedRows, found: np.ndarray) -> float | None:
    from sklearn.metrics import adjusted_mutual_info_score

    if rows.fine_label is None:
        return None
    known = rows.fine_label != UNLABELLED
    fine, count = rows.fine_label[known], len(np.unique(rows.fine_label[known]))
    if count < 2 or len(fine) < sample.LEAST_ROWS * count:
        return None
    return float(adjusted_mutual_info_score(fine, found[known]))


def markdown(facts: Mapping[str, Any], comparison: Mapping[str, Any]) -> list[str]:
    """Returns tables, signs and verdict as lines of Markdown, without a heading of their own.

    Args:
        facts: What `diagnose` returned, or the same read from JSON.
        comparison: What `comparison.compare` returned, or the same read from JSON.
    """
    lines = [
        "What one teacher's embedding holds beside its probabilities, on "
        f"{facts['rows']['fit']} training rows (fit) and {facts['rows']['held_out']} validation "
        "rows (held out). Pairs are fit / held out.",
        "",
        *_table(_EMBEDDING_HEAD, [_embedding_cells(entry) for entry in _shown(facts)]),
        "",
        "Outside: share of the embedding's variance within the class that lies in the null space "
        f"of the output weights ({facts['dims']} dims). Effective rank of that part: exponential "
        "of the entropy of its normalised eigenvalues (Roy and Vetterli, 2007); rank: the most "
        "directions that LELP can take. Entropy of the teacher's probabilities: what plain "
        "distillation at temperature 1 hands over, the label included, is at most "
        f"{np.log2(len(facts['classes'])):.2f} bits.",
    ]
    probed = "counts of words and pairs of words" if facts["of_texts"] else "the input"
    cells = [row for entry in _shown(facts) for row in _split_cells(entry)]
    if cells:
        lines += [
            "",
            *_table(_SPLIT_HEAD, cells),
            "",
            f"Each class split into {facts['num_subclasses']} pseudo-subclasses, held-out rows. "
            "Two halves agree: of `lelp` the mean squared cosine of the principal angles between "
            "the subspaces fitted to two halves of the training rows, of `soft_kmeans` the "
            "adjusted Rand index of the two assignments. Told from input: how far a ridge "
            f"classifier on {probed} goes from guessing the most frequent pseudo-subclass (0) to "
            "certainty (1). Fine labels: adjusted mutual information with them. 0 is chance in the "
            "last two and 1 the most everywhere; empty where there are too few rows or labels.",
        ]
    left_out = len(facts["classes"]) - len(_shown(facts))
    if left_out:
        lines += ["", f"{left_out} more classes are left out of the tables, not of what follows."]
    found = verdict.signs(facts, comparison)
    lines += ["", "Means over classes:", ""]
    lines += [f"- {sign.side}: {sign.text}" for sign in found]
    return [*lines, "", verdict.verdict(found, comparison)]


def _shown(facts: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return facts["classes"][:_SHOWN]


def _embedding_cells(entry: Mapping[str, Any]) -> list[str]:
    return [
        entry["name"],
        _both(entry["rows"], "{:d}"),
        _both(entry["outside"], "{:.0%}").replace("%", ""),
        _both(entry["effective_rank"], "{:.1f}"),
        str(entry["rank"]),
        _both(entry["entropy"], "{:.3f}"),
        _both(entry["correct"], "{:.1%}").replace("%", ""),
    ]


def _split_cells(entry: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            entry["name"],
            name,
            *(
                "" if values[key] is None else f"{values[key]:.2f}"
                for key in ("stability", "by_chance", "from_input", "fine")
            ),
        ]
        for name, values in entry["splits"].items()
    ]


def _both(values: Mapping[str, float | None], form: str) -> str:
    return " / ".join(
        "-" if values[part] is None else form.format(values[part]) for part in ("fit", "held_out")
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(map(table.cell, row)) + " |" for row in (head, *rows)]
    return [lines[0], "|" + " --- |" * len(head), *lines[1:]]
