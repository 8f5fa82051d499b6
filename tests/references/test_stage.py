"""The stage of the references: what it fits to which rows, what it notes, and that it is reused."""

import dataclasses
import itertools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lelp_jax.core import metrics
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.data.few_labels import hide_labels
from lelp_jax.experiment.run import Run
from lelp_jax.references import linear, stage
from lelp_jax.references.stage import Reference
from tests.helpers import planted, tiny

ROWS = 300


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Several threads take many times longer for the small fits by hand."""
    with threadpool_limits(1):
        yield


def numbers(classes: int = 2, unlabelled: int = 0) -> Dataset:
    """Returns rows whose class follows from the features up to noise; 20 % are test rows."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(ROWS, 5))
    scores = inputs[:, :classes] + 0.5 * random.normal(size=(ROWS, classes))
    labels = scores.argmax(axis=1)
    labels[:unlabelled] = -1
    place = np.arange(ROWS)
    splits = {"train": place[:200], "validation": place[200:240], "test": place[240:]}
    return dataclasses.replace(planted.dataset(labels, inputs), **splits)


def make_run(dataset: Dataset, values: np.ndarray | None = None, **changes: Any) -> Run:
    """Returns a run of which all is there that the stage reads."""
    settings: dict[str, Any] = {"metric": "accuracy", "weights": (), "root": "run"} | changes
    config: Any = types.SimpleNamespace(
        view=types.SimpleNamespace(
            kind="tokens" if values is None and dataset.of_texts else "numbers"
        ),
        student=types.SimpleNamespace(
            train=types.SimpleNamespace(class_weights=settings["weights"])
        ),
        report=types.SimpleNamespace(selection_metric=settings["metric"]),
    )
    inputs: Any = types.SimpleNamespace(
        values=dataset.inputs if values is None else values, fingerprint="inputs"
    )
    session = Session(Reporter(), Interrupts(), CurveLog(Path("metrics.jsonl")), 60)
    root = Path(settings["root"])
    return Run("made", root, root, config, dataset, (dataset,), inputs, session)


def ensure(run: Run, transfers: list[np.ndarray]) -> dict[str, Reference]:
    replicates: Any = [
        types.SimpleNamespace(transfer=transfer, seed=number, dataset=known)
        for number, (transfer, known) in enumerate(
            zip(transfers, itertools.cycle(run.known), strict=False)
        )
    ]
    return {reference.name: reference for reference in stage.ensure(run, replicates)}


def choose_by_hand(dataset: Dataset, row_sets: list[np.ndarray]) -> float:
    """Returns the C with the best mean validation accuracy, then the lowest mean loss."""
    rows, ranked = dataset.validation, []
    for strength in (0.001, 0.01, 0.1, 1.0, 10.0, 100.0):
        scores, losses = [], []
        for index in row_sets:
            model = LogisticRegression(C=strength).fit(dataset.inputs[index], dataset.labels[index])
            logits = model.predict_log_proba(dataset.inputs[rows])
            scores.append(model.score(dataset.inputs[rows], dataset.labels[rows]))
            losses.append(metrics.nll(logits, dataset.labels[rows]))
        ranked.append((-round(np.mean(scores), 12), np.mean(losses), strength))
    return float(min(ranked)[2])


@pytest.mark.parametrize("classes", [2, 3])
def test_references_are_those_fitted_by_hand(classes: int) -> None:
    dataset = numbers(classes, unlabelled=20)
    transfers = [np.arange(0, 60), np.arange(50, 110), np.arange(120, 180)]
    found = ensure(make_run(dataset), transfers)
    assert list(found) == ["majority", "linear", "linear_all_rows"]
    known = [index[dataset.labels[index] >= 0] for index in transfers]
    everything = dataset.labelled_train
    for name, row_sets in (("linear", known), ("linear_all_rows", [everything] * 3)):
        strength = choose_by_hand(dataset, row_sets)
        assert found[name].hyperparameters == {"C": strength}
        assert found[name].note == ""
        for fit, rows in zip(found[name].fits, row_sets, strict=True):
            model = LogisticRegression(C=strength).fit(dataset.inputs[rows], dataset.labels[rows])
            for index, logits in ((dataset.test, fit.test_logits),):
                expected = model.predict_proba(dataset.inputs[index])
                probability = np.exp(metrics.log_softmax(logits))
                np.testing.assert_allclose(probability, expected, rtol=1e-3, atol=1e-5)
            labels = dataset.labels[dataset.validation]
            shown = model.score(dataset.inputs[dataset.validation], labels)
            assert fit.validation["accuracy"] == pytest.approx(shown)
    counts = np.bincount(dataset.labels[everything])
    for fit in found["majority"].fits:
        assert np.exp(fit.test_logits) == pytest.approx(np.tile(counts / counts.sum(), (60, 1)))
        assert fit.validation["matthews"] == 0


def test_replicates_that_see_all_rows_share_one_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted, fit_linear = [], linear.fit_linear

    def count(*arguments: Any) -> linear.Linear:
        fitted.append(arguments)
        return fit_linear(*arguments)

    monkeypatch.setattr(linear, "fit_linear", count)
    dataset = numbers()
    found = ensure(make_run(dataset), [dataset.train] * 4)
    assert len(fitted) == 2
    assert len(found["linear"].fits) == 4
    np.testing.assert_array_equal(
        found["linear"].fits[3].test_logits, found["linear_all_rows"].fits[0].test_logits
    )


def test_each_replicate_is_fitted_to_the_labels_that_it_knows() -> None:
    dataset = numbers()
    bare, known = hide_labels(dataset, 120, (1, 2, 3))
    run = make_run(bare)
    transfers = [dataset.train, dataset.train[:150]] * 3
    found = ensure(dataclasses.replace(run, known=known), transfers)
    everything = [each.labelled_train for each in known] * 2
    seen = [rows if number % 2 == 0 else rows[rows < 150] for number, rows in enumerate(everything)]
    for name, row_sets in (("linear", seen), ("linear_all_rows", everything)):
        strength = choose_by_hand(dataset, row_sets)
        assert found[name].hyperparameters == {"C": strength}
        for fit, rows in zip(found[name].fits, row_sets, strict=True):
            model = LogisticRegression(C=strength).fit(dataset.inputs[rows], dataset.labels[rows])
            probability = np.exp(metrics.log_softmax(fit.test_logits))
            expected = model.predict_proba(dataset.inputs[dataset.test])
            np.testing.assert_allclose(probability, expected, rtol=1e-3, atol=1e-5)
    _, others = hide_labels(dataset, 120, (1, 2, 4))
    again = ensure(dataclasses.replace(run, known=others), transfers)
    assert again["linear"].fingerprint != found["linear"].fingerprint


def test_texts_are_read_unless_students_see_numbers() -> None:
    dataset, answers = planted.text_example(clusters=True)
    dataset = dataclasses.replace(dataset, test=dataset.validation)
    transfers = [dataset.train[:150], dataset.train[150:300]]
    found = ensure(make_run(dataset), transfers)
    assert set(found["linear"].hyperparameters) == {"C", "ngrams"}
    labels = dataset.labels[dataset.test]
    assert metrics.accuracy(found["linear"].fits[0].test_logits, labels) > 0.95
    found = ensure(make_run(dataset, answers.embeddings), transfers)
    assert set(found["linear"].hyperparameters) == {"C"}


@pytest.mark.parametrize("weights", [("balanced",), (1, 5)])
def test_class_weights_are_those_of_the_students(weights: tuple) -> None:
    dataset = numbers()
    noise = np.random.default_rng(1).normal(size=ROWS)
    labels = (dataset.inputs[:, 0] + noise > 1.5).astype(np.int32)
    dataset = dataclasses.replace(dataset, labels=labels)
    transfers = [dataset.train]
    weighted = ensure(make_run(dataset, weights=weights), transfers)["linear"]
    # "balanced" or, by class, the weights as given.
    class_weight = dict(enumerate(weights)) if len(weights) > 1 else weights[0]
    strength = weighted.hyperparameters["C"]
    found = np.exp(metrics.log_softmax(weighted.fits[0].test_logits))
    for given, same in ((class_weight, True), (None, False)):
        model = LogisticRegression(C=strength, class_weight=given)
        model.fit(dataset.inputs[dataset.train], dataset.labels[dataset.train])
        expected = model.predict_proba(dataset.inputs[dataset.test])
        assert np.allclose(found, expected, rtol=1e-3) == same


def test_what_cannot_be_fitted_says_why(package_log: list[tuple[int, str]]) -> None:
    dataset = numbers(unlabelled=50)
    found = ensure(make_run(dataset), [np.arange(50, 100), np.arange(50)])
    assert found["linear"].fits == ()
    assert "no labelled row" in found["linear"].note
    assert len(found["linear_all_rows"].fits) == 2
    assert any("linear: a replicate has no labelled row" in text for _, text in package_log)
    found = ensure(make_run(numbers(3), metric="roc_auc"), [np.arange(50)])
    assert found["linear"].fits == ()
    assert "roc_auc is not defined" in found["linear"].note


def test_shortened_fits_are_noted(
    monkeypatch: pytest.MonkeyPatch, package_log: list[tuple[int, str]]
) -> None:
    dataset = numbers()
    monkeypatch.setattr(linear, "_FITTING", {"numbers": 500})
    monkeypatch.setattr(linear, "_CHOOSING", {"numbers": 250})
    monkeypatch.setattr(linear, "_MOST_ITERATIONS", 2)
    found = ensure(make_run(dataset), [dataset.train])
    assert found["linear"].note == (
        "its hyperparameters were chosen on 50 of 200 rows, drawn at random to limit its time; "
        "fitted to 100 of 200 rows, drawn at random to limit its time; "
        "1 of 1 fits ended before they had converged"
    )
    assert sum("linear: fitted to 100 of 200 rows" in text for _, text in package_log) == 1


def test_references_are_reused_until_something_they_depend_on_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset, transfers = numbers(), [np.arange(60), np.arange(60, 120)]
    first = ensure(make_run(dataset), transfers)
    folder = Path("run") / stage.STAGE
    before = tiny.snapshot(folder)
    with monkeypatch.context() as patch:
        patch.setattr(linear, "fit_linear", None)
        again = ensure(make_run(dataset), transfers)
    assert tiny.snapshot(folder) == before
    for name, reference in first.items():
        assert again[name].hyperparameters == reference.hyperparameters
        for one, other in zip(again[name].fits, reference.fits, strict=True):
            np.testing.assert_array_equal(one.test_logits, other.test_logits)
            assert one.validation == other.validation
    for number, (run, seen) in enumerate(
        [
            (make_run(dataset, metric="nll"), transfers),
            (make_run(dataset, weights=("balanced",)), transfers),
            (make_run(dataset), transfers[:1]),
            (make_run(dataset), [rows[:-1] for rows in transfers]),
            (make_run(numbers(3)), transfers),
        ]
    ):
        ensure(run, seen)
        assert len(list(folder.iterdir())) == number + 2


def test_a_damaged_reference_is_fitted_again(package_log: list[tuple[int, str]]) -> None:
    dataset, transfers = numbers(), [np.arange(60)]
    first = ensure(make_run(dataset), transfers)["linear"].fits[0]
    expected = np.array(first.test_logits)
    (path,) = (Path("run") / stage.STAGE).glob("*/linear.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    again = ensure(make_run(dataset), transfers)["linear"].fits[0]
    np.testing.assert_array_equal(again.test_logits, expected)
    assert any("linear.npy has changed" in text for _, text in package_log)
