"""What the diagnostics measure, against closed forms and planted data, and what they say."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from lelp_jax.core import seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report import survey
from lelp_jax.report.diagnostics import diagnosis, probe, sample, verdict
from lelp_jax.report.diagnostics.spectrum import compute_spectra
from lelp_jax.report.explorer import page
from tests.helpers import planted
from tests.helpers.embeddings import complement, example, principal


@functools.cache
def facts(clusters: bool) -> dict:
    return diagnosis.diagnose(*planted.example(clusters), num_subclasses=4)


def of_split(clusters: bool, name: str, key: str) -> list[float]:
    return [entry["splits"][name][key] for entry in facts(clusters)["classes"]]


def rows_of(embedding: np.ndarray) -> EmbeddedRows:
    count = len(embedding)
    return EmbeddedRows(embedding.astype(np.float32), np.arange(count), np.zeros(count, np.int32))


def test_equal_variance_in_k_directions_is_an_effective_rank_of_k():
    corners = np.concatenate([np.eye(6), -np.eye(6)])[:, :]
    weights = np.eye(6)[:, 4:5]
    (found,) = compute_spectra(rows_of(corners + 3.0), weights)
    assert found.rank == 5
    np.testing.assert_allclose(found.effective_rank, 5, rtol=1e-6)
    np.testing.assert_allclose(found.share, 5 / 6, rtol=1e-6)


def test_spectrum_is_that_of_the_projected_covariance():
    rows, weights = example()
    for index, found in enumerate(compute_spectra(rows, weights)):
        values, _ = principal(rows, weights, index)
        own = rows.embedding[rows.label == index].astype(np.float64)
        inside = complement(weights)
        covariance = np.cov(own.T)
        share = np.trace(inside @ covariance @ inside) / np.trace(covariance)
        weight = values[:8] / values[:8].sum()
        np.testing.assert_allclose(found.share, share, rtol=1e-4)
        np.testing.assert_allclose(
            found.effective_rank, np.exp(-(weight * np.log(weight)).sum()), rtol=1e-4
        )
        assert found.rank == 8


def test_rank_is_limited_by_the_rows_and_ignores_rounding():
    random = np.random.default_rng(0)
    wide = random.normal(size=(5, 40))
    flat = random.normal(size=(50, 3)) @ random.normal(size=(3, 40)) + 100
    nothing = np.zeros((40, 1))
    assert compute_spectra(rows_of(wide), nothing)[0].rank == 4
    assert compute_spectra(rows_of(flat), nothing)[0].rank == 3
    assert compute_spectra(rows_of(np.ones((5, 4))), np.zeros((4, 1)))[0].rank == 0


@pytest.mark.parametrize(("count", "features"), [(90, 20), (60, 150)])
def test_probe_is_ridge_regression_with_rows_left_out(count: int, features: int):
    from sklearn.linear_model import RidgeClassifierCV

    random = np.random.default_rng(3)
    inputs = random.normal(size=(count + 300, features)) / np.sqrt(1 + np.arange(features))
    group = (inputs @ random.normal(size=(features, 3))).argmax(axis=1)
    inputs += 5
    group = np.where(random.random(len(group)) < 0.2, 0, group)
    seen, unseen = inputs[:count], inputs[count:]
    squares = np.square(seen - seen.mean(axis=0)).sum(axis=1).mean()
    reference = RidgeClassifierCV(np.logspace(-6, 2, 9) * squares).fit(seen, group[:count])
    right = (reference.predict(unseen) == group[count:]).mean()
    guess = (group[count:] == np.bincount(group[:count]).argmax()).mean()
    found = probe.measure_gain_over_guessing(seen, group[:count], unseen, group[count:])
    assert found == pytest.approx((right - guess) / (1 - guess), abs=1e-9)
    assert found > 0.1


def test_probe_is_silent_where_there_is_nothing_to_tell():
    inputs, one, two = np.eye(4), np.zeros(4, int), np.array([0, 1, 0, 1])
    assert probe.measure_gain_over_guessing(inputs, one, inputs, two) is None
    assert probe.measure_gain_over_guessing(inputs, two, inputs, one) is None
    assert probe.measure_gain_over_guessing(np.ones((4, 2)), two, np.ones((4, 2)), two) is None


def test_planted_clusters_are_found_again_in_the_input_and_in_the_fine_labels():
    assert facts(True)["num_subclasses"] == 4
    for key in ("stability", "from_input", "fine"):
        assert min(of_split(True, "soft_kmeans", key)) > 0.9, key
    # Four clusters span three directions; the fourth is noise.
    assert min(of_split(True, "lelp", "stability")) > 0.7


def test_a_cloud_has_no_clusters():
    assert max(of_split(False, "soft_kmeans", "stability")) < 0.25
    assert max(of_split(False, "lelp", "stability")) < 0.8
    for name in sample.SPLITS:
        assert max(np.abs(of_split(False, name, "from_input"))) < 0.2, name
        assert max(np.abs(of_split(False, name, "fine"))) < 0.1, name


@pytest.mark.parametrize("clusters", [True, False])
def test_planted_clusters_are_told_from_texts(clusters: bool):
    data, answers = planted.text_example(clusters)
    found = diagnosis.diagnose(data, answers, num_subclasses=4)
    of_input = [entry["splits"]["soft_kmeans"]["from_input"] for entry in found["classes"]]
    assert min(of_input) > 0.9 if clusters else max(np.abs(of_input)) < 0.2
    # All else is the embedding's.
    assert of_split(clusters, "soft_kmeans", "stability") == [
        entry["splits"]["soft_kmeans"]["stability"] for entry in found["classes"]
    ]
    text = "\n".join(diagnosis.render(found, comparison()))
    assert "a ridge classifier on counts of words and word pairs gets" in text


def test_words_that_no_network_sees_do_not_help():
    data, answers = planted.text_example(True)
    hidden = np.array(["so far " + text for text in data.inputs], object)
    cut = dataclasses.replace(data, inputs=hidden, max_length=2)
    found = diagnosis.diagnose(cut, answers, num_subclasses=4)
    assert {
        split["from_input"] for entry in found["classes"] for split in entry["splits"].values()
    } == {None}


def test_a_survey_is_made_again_where_more_of_a_text_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def diagnose(dataset: Dataset, bank: object) -> dict:
        return {"seen": dataset.max_length, "num_subclasses": 0}

    monkeypatch.setattr(diagnosis, "diagnose", diagnose)
    monkeypatch.setattr(page, "compute_points", lambda *_, **__: {})
    data, answers = planted.text_example(True)
    for longest in (16, 8, 16):
        shown = dataclasses.replace(data, max_length=longest)
        assert survey.ensure(tmp_path, shown, answers).facts["seen"] == longest


def test_agreement_of_subspaces_is_the_mean_squared_cosine_of_their_angles():
    data, answers = planted.example(False)
    rows = sample.draw(data, answers, data.train, seeds.derive(0, "fit"))
    halves = sample.split_in_halves(rows, seeds.derive(0, "halves"))
    assert not np.intersect1d(halves[0].index, halves[1].index).size
    assert sum(map(len, halves)) == len(rows)
    fits = [sample.fit(half, answers.output_weights, 4, 0)["lelp"] for half in halves]
    for label in range(2):
        first, second = (fit.basis[label].astype(float) for fit in fits)
        cosines = np.linalg.svd(first.T @ second)[1]
        found = facts(False)["classes"][label]["splits"]["lelp"]
        assert found["stability"] == pytest.approx(np.square(cosines).mean(), abs=1e-4)
        # Four of the eight directions outside the output weights.
        assert found["by_chance"] == 0.5


@pytest.mark.parametrize(("height", "entropy"), [(0.0, 1.0), (np.log(3), 0.811278), (60.0, 0.0)])
def test_entropy_is_in_bits_and_right_is_counted(height: float, entropy: float):
    data, answers = planted.example(True)
    logits = (height * np.eye(2)[data.labels]).astype(np.float32)
    told = dataclasses.replace(answers, logits=logits[:, ::-1])
    found = diagnosis.diagnose(data, told, num_subclasses=1)["classes"][1]
    np.testing.assert_allclose(list(found["entropy"].values()), entropy, atol=1e-5)
    if height:
        assert found["correct"] == {"fit": 0.0, "held_out": 0.0}


def test_facts_are_strict_json_and_repeatable():
    again = diagnosis.diagnose(*planted.example(True), num_subclasses=4)
    assert json.loads(json.dumps(facts(True), allow_nan=False)) == again


def test_draw_takes_so_many_of_each_class_and_the_same_whatever_else_is_there():
    random = np.random.default_rng(0)
    labels = (np.arange(7500) % 5 == 0).astype(int)
    data = planted.dataset(labels, random.normal(size=(7500, 1)))
    embedding = random.normal(size=(7500, 2)).astype(np.float32)
    answers = planted.Answers("large", np.zeros((7500, 2)), embedding, np.eye(2))
    drawn = sample.draw(data, answers, data.train, 5)
    assert np.bincount(drawn.label).tolist() == [2000, 1000]
    assert (np.diff(drawn.index) > 0).all()
    np.testing.assert_array_equal(drawn.embedding, embedding[drawn.index])
    fewer = np.setdiff1d(data.train, drawn.index[::7])
    kept = np.setdiff1d(drawn.index, drawn.index[::7])
    assert np.isin(kept, sample.draw(data, answers, fewer, 5).index).all()


def test_classes_are_split_as_far_as_rows_and_directions_go():
    random = np.random.default_rng(0)
    wide, flat = random.normal(size=(23, 30)), random.normal(size=(23, 3))
    assert sample.limit_subclasses(rows_of(wide), np.eye(30)[:, :1], 10) == 4
    assert sample.limit_subclasses(rows_of(wide), np.eye(30)[:, :1], 3) == 3
    assert sample.limit_subclasses(rows_of(flat), np.eye(3)[:, :1], 10) == 2


def few_rows() -> dict:
    data, answers = planted.example(True)
    return diagnosis.diagnose(
        dataclasses.replace(data, train=data.train[:12], validation=data.validation[:1]), answers
    )


def test_few_rows_leave_gaps():
    found = few_rows()
    assert found["num_subclasses"] == 0
    assert [entry["splits"] for entry in found["classes"]] == [{}, {}]
    assert None in [entry["entropy"]["held_out"] for entry in found["classes"]]
    text = "\n".join(diagnosis.render(found, comparison()))
    assert "against: A class has too few rows" in text
    assert "nan" not in text
    assert "None" not in text


def interval(mean: float, half: float) -> dict:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def comparison(
    teacher: float | None = 0.987,
    over_control: dict[str, tuple[float, float]] | None = None,
    **methods: tuple[float, float, float | None],
) -> dict:
    """Returns a comparison to a baseline of 0.94.

    Args:
        teacher: The teachers' accuracy.
        over_control: Difference to the random split and half the width of its interval, by method.
        **methods: Difference to the baseline, half the width of its interval, and p.
    """
    rows = [{"method": "kd", "value": {"mean": 0.94}}]
    for name, (mean, half, p) in methods.items():
        rows.append({"method": name, "value": {}, "difference": interval(mean, half), "p": p})
        if over_control and name in over_control:
            rows[-1]["control_difference"] = interval(*over_control[name])
    return {
        "metric": "accuracy",
        "baseline": "kd",
        "replicates": 16,
        "teachers": 4,
        "test_rows": 360,
        "compared": len(methods),
        "scope": "new teachers",
        "teacher": teacher,
        "methods": rows,
    }


MEASURED = {
    "lelp": (-0.001, 0.006, 0.8),
    "soft_kmeans": (0.032, 0.005, 1e-6),
    "random_split": (-0.045, 0.01, 1e-5),
    "oracle": (0.009, 0.006, 0.02),
}
OVER_CONTROL = {"lelp": (0.044, 0.01), "soft_kmeans": (0.077, 0.01)}


def test_what_was_measured_stands_in_the_verdict():
    lines = diagnosis.render(facts(True), comparison(over_control=OVER_CONTROL, **MEASURED))
    assert (
        "better than `kd`: `soft_kmeans`; not significantly different from `kd`: `lelp` "
        "(significant: corrected p" in lines[-1]
    )
    assert "no method can gain much" not in lines[-1]
    assert any(line.startswith("- for: `kd` is 4.7 points below the teacher") for line in lines)
    assert any(
        "against: The wide head alone hurts (-4.50 [-5.50, -3.50] points" in x for x in lines
    )
    wanted = "for: `soft_kmeans` minus the random split: +7.70 [+6.70, +8.70] points"
    assert any(wanted in x for x in lines)


def test_without_room_the_verdict_says_so():
    text = "\n".join(diagnosis.render(facts(True), comparison(0.947, **MEASURED)))
    assert "against: `kd` is 0.7 points below the teacher" in text
    assert text.endswith("With so little headroom below the teacher, no method can gain much.")


@pytest.mark.parametrize(("clusters", "hope"), [(True, "worth a try"), (False, "not the first")])
def test_signs_alone_speak_where_nothing_was_measured(clusters: bool, hope: str):
    lines = diagnosis.render(facts(clusters), comparison(None))
    assert hope in lines[-1]
    assert any(line.startswith("- for: Agreement of clusters fitted") for line in lines) == clusters


@pytest.mark.parametrize(("entropy", "said"), [(0.09, True), (0.11, False)])
def test_a_sure_teacher_is_a_sign(entropy: float, said: bool):
    sure = json.loads(json.dumps(facts(True)))
    for entry in sure["classes"]:
        entry["entropy"]["held_out"] = entropy
    found = verdict.find_signs(sure, comparison())
    assert any("The teacher is confident" in sign.text for sign in found) == said


def test_a_smaller_loss_is_better():
    losses = {**comparison(over_control=OVER_CONTROL, **MEASURED), "metric": "nll"}
    sides = {sign.text.split("(")[0]: sign.side for sign in verdict.find_signs(facts(True), losses)}
    assert sides["The wide head alone helps "] == verdict.OPEN
    against = [text for text, side in sides.items() if side == verdict.AGAINST]
    said = "`lelp` minus the random split: +0.0440 [+0.0340, +0.0540]; the split by the embedding"
    assert f"{said} is worse." in against
    assert "worse than `kd`: `soft_kmeans`" in verdict.conclude([], losses)
    unclear = {**comparison(random_split=(-0.005, 0.01, 0.5)), "metric": "nll"}
    assert any("no clear effect" in x.text for x in verdict.find_signs(facts(True), unclear))


@pytest.mark.parametrize(
    ("gain", "side", "said"),
    [
        ((0.02, 0.01), verdict.FOR, "+2.00 [+1.00, +3.00] points; the embedding adds"),
        ((-0.02, 0.01), verdict.AGAINST, "-2.00 [-3.00, -1.00] points; the split by"),
        ((0.02, 0.03), verdict.OPEN, "+2.00 [-1.00, +5.00] points; no clear difference"),
        ((-0.00001, 0.03), verdict.OPEN, "+0.00 [-3.00, +3.00] points; no clear difference"),
        ((0.02, float("nan")), verdict.OPEN, "+2.00 points; no clear difference"),
    ],
)
def test_a_split_is_tested_against_the_random_split(
    gain: tuple[float, float], side: str, said: str
) -> None:
    """Whatever the intervals of their differences to the baseline are."""
    given = comparison(
        over_control={"lelp": gain}, random_split=(0.0, 0.01, 0.9), lelp=(0.005, 0.01, 0.5)
    )
    for read in (given, json.loads(json.dumps(given).replace("NaN", "null"))):
        (sign,) = [x for x in verdict.find_signs(facts(True), read) if "`lelp` minus" in x.text]
        assert sign.side == side
        assert said in sign.text


def test_too_few_replicates_measure_nothing() -> None:
    given = comparison(lelp=(0.05, float("nan"), None)) | {
        "scope": "too few replicates",
        "replicates": 2,
        "teachers": 1,
    }
    text = verdict.conclude([], given)
    assert "Too few replicates to compare methods: 2 replicates of 1 teacher" in text
    assert "significant" not in text


def test_what_is_not_defined_is_left_out():
    nothing = float("nan")
    given = comparison(nothing, lelp=(nothing, 0, nothing), random_split=(0.1, 0.01, 0.5))
    assert "nan" not in "\n".join(diagnosis.render(facts(True), given))
    given = comparison(random_split=(nothing, 0, nothing), lelp=(0.1, 0.01, 0.5))
    assert "nan" not in "\n".join(diagnosis.render(facts(True), given))


def test_many_classes_speak_against_and_are_not_all_listed():
    many = {**facts(True), "classes": facts(True)["classes"] * 10}
    lines = diagnosis.render(many, comparison())
    assert (
        sum(line.startswith("| class 0 | 1") or line.startswith("| class 0 | 2") for line in lines)
        == 6
    )
    assert any("leave out 8 more classes" in line for line in lines)
    assert any("against: There are 20 classes" in line for line in lines)


def test_names_of_classes_do_not_break_the_tables():
    odd = json.loads(json.dumps(facts(True)))
    odd["classes"][0]["name"] = "a|b\n<i>\\"
    row = next(x for x in diagnosis.render(odd, comparison()) if x.startswith("| a"))
    assert row.startswith("| a\\|b \\<i>\\\\ | ")


@pytest.mark.parametrize("clusters", [True, False])
def test_planted_clusters_are_told_from_images(clusters: bool):
    """Pixels go up to 255, where differences in eight bits would wrap around."""
    data, answers = planted.image_example(clusters)
    found = diagnosis.diagnose(data, answers, num_subclasses=4)
    of_input = [entry["splits"]["soft_kmeans"]["from_input"] for entry in found["classes"]]
    assert min(of_input) > 0.9 if clusters else max(np.abs(of_input)) < 0.2
    for label, entry in enumerate(found["classes"]):
        assert len(entry["nearest"]) == 4
        assert sum(each["share"] for each in entry["nearest"]) == pytest.approx(1)
        shown = np.concatenate([each["rows"] for each in entry["nearest"]]).astype(int)
        assert set(shown) <= set(data.validation)
        assert set(data.labels[shown]) == {label}
        assert len(set(shown)) == len(shown)
    features, _ = diagnosis._read_inputs(data, data.train, data.validation)
    np.testing.assert_allclose(
        features, (data.inputs[data.train].reshape(len(data.train), -1) - 127.5) / 63.75, rtol=1e-6
    )
