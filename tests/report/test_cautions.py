"""When a report says that a teacher, a student or a training needs a second look."""

import json
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core import files
from lelp_jax.report.cautions import (
    compare_with_linear,
    compare_with_majority,
    is_still_falling,
    judge_training,
)
from lelp_jax.teachers.network import Networks
from lelp_jax.train.config import EarlyStopping, TrainConfig
from lelp_jax.train.optimizer import OptimizerConfig
from tests.helpers import tiny
from tests.helpers.paths import CONFIGS
from tests.helpers.result_lines import beside, compared, line, refused

# The teachers of hand-made lines reach 0.925 on average.
REFERENCES = {"majority": 0.6, "linear": 0.7, "linear_all_rows": 0.8}


def made(kd: float, lelp: float, references: dict[str, float]) -> list[dict[str, Any]]:
    """Returns lines of two methods, whose students differ by 0.02 between replicates."""
    students = [
        line(name, r, value + 0.01 * (-1) ** r)
        for name, value in (("kd", kd), ("lelp", lelp))
        for r in range(4)
    ]
    return students + beside(references, 4)


# Beside logistic regression.


def test_good_teachers_and_students_give_no_caution() -> None:
    comparison = compared(made(0.8, 0.9, REFERENCES))
    assert compare_with_linear(comparison) == compare_with_majority(comparison) == []


def test_a_teacher_that_is_not_ahead_of_logistic_regression_is_named() -> None:
    for linear in (0.925, 0.94):
        comparison = compared(made(0.8, 0.9, REFERENCES | {"linear_all_rows": linear}))
        for shown in (comparison, files.clean(comparison)):
            (caution,) = compare_with_linear(shown)
            assert caution.startswith("The teacher (92.50 %) is no better than logistic regression")
            assert f"`linear_all_rows`, {100 * linear:.2f} %" in caution
    comparison = compared(made(0.8, 0.9, REFERENCES | {"linear_all_rows": 0.924}))
    assert compare_with_linear(comparison) == []


def test_methods_that_all_lose_to_logistic_regression_are_named() -> None:
    comparison = compared(made(0.8, 0.9, REFERENCES | {"linear": 0.91}))
    (caution,) = compare_with_linear(comparison)
    assert "No method's students are better" in caution
    assert "(`linear`, 91.00 %)" in caution
    assert "`lelp` (90.00 %)" in caution
    # One method that is ahead is enough.
    comparison = compared(made(0.8, 0.9, REFERENCES | {"linear": 0.89}))
    assert compare_with_linear(comparison) == []


def test_smaller_losses_are_better() -> None:
    """Losses of hand-made lines are 1 - accuracy."""
    references = REFERENCES | {"linear": 0.95, "linear_all_rows": 0.94}
    first, second = compare_with_linear(compared(made(0.8, 0.9, references), "nll"))
    assert "The teacher (0.0750)" in first
    assert "`linear_all_rows`, 0.0600" in first
    assert "`lelp` (0.1000)" in second
    assert compare_with_linear(compared(made(0.8, 0.9, REFERENCES), "nll")) == []
    (caution,) = compare_with_majority(compared(made(0.5, 0.9, REFERENCES), "nll"))
    assert caution.startswith("Worse than `majority` (0.4000): `kd` (0.5000).")


def test_what_is_unknown_gives_no_caution() -> None:
    lines = made(0.8, 0.9, REFERENCES | {"linear_all_rows": 0.99, "linear": 0.99})
    unknown = [x | {"teacher_test": None} for x in lines]
    assert len(compare_with_linear(compared(unknown))) == 1
    absent = [x | {"test": None} if x["status"] == "reference" else x for x in lines]
    comparison = compared(absent)
    assert compare_with_linear(comparison) == compare_with_majority(comparison) == []
    comparison = compared(refused("kd", 4, "why") + beside(REFERENCES, 4))
    assert compare_with_linear(comparison) == compare_with_majority(comparison) == []


# Beside the most frequent class.


def test_students_near_the_most_frequent_class_are_named() -> None:
    (caution,) = compare_with_majority(compared(made(0.55, 0.63, REFERENCES)))
    assert "Worse than `majority` (60.00 %): `kd` (55.00 %)." in caution
    assert "Hardly better than `majority` (60.00 %): `lelp` (63.00 %)." in caution
    # A tenth of the way from 60 to 100 % is the end of what counts as near.
    assert compare_with_majority(compared(made(0.645, 0.9, REFERENCES))) == []


def test_intervals_that_reach_the_most_frequent_class_count_as_near() -> None:
    spread = (0.45, 0.85, 0.55, 0.85)
    lines = [line("kd", r, value) for r, value in enumerate(spread)] + beside(REFERENCES, 4)
    (caution,) = compare_with_majority(compared(lines))
    assert "Hardly better than `majority` (60.00 %): `kd` (67.50 %)." in caution
    tight = [line("kd", r, 0.675 + 0.001 * r) for r in range(4)] + beside(REFERENCES, 4)
    assert compare_with_majority(compared(tight)) == []
    # Wide as it is, this one is far from the most frequent class.
    spread = (0.55, 0.95, 0.65, 0.95)
    lines = [line("kd", r, value) for r, value in enumerate(spread)] + beside(REFERENCES, 4)
    assert compare_with_majority(compared(lines)) == []


def test_a_teacher_near_the_most_frequent_class_is_named() -> None:
    (caution,) = compare_with_majority(compared(made(0.97, 0.98, REFERENCES | {"majority": 0.93})))
    assert "Worse than `majority` (93.00 %): the teacher (92.50 %)." in caution


def test_long_lists_are_cut() -> None:
    methods = [f"m{number}" for number in range(12)]
    lines = [line(name, r, 0.5) for name in methods for r in range(2)] + beside(REFERENCES, 2)
    (caution,) = compare_with_majority(compared(lines, baseline="m0"))
    assert "`m7` (50.00 %) and 4 more." in caution
    assert "m8" not in caution


def test_calibration_says_nothing_of_the_most_frequent_class() -> None:
    lines = [x | {"teacher_test": None} for x in made(0.5, 0.5, REFERENCES)]
    assert compare_with_majority(compared(lines, "ece")) == []


# Training curves.

SHARES = np.arange(1, 51) / 50


@pytest.mark.parametrize(
    ("losses", "falling"),
    [
        (1 - 0.5 * SHARES, True),
        (np.exp(-1.5 * SHARES), True),
        (np.exp(-3 * SHARES), False),
        (np.full(50, 0.3), False),
        (1 + SHARES, False),
        # Falls, but by 0.1 % of the fall before.
        (np.where(SHARES > 0.9, 0.099, np.where(SHARES > 0.8, 0.1, 1.0)), False),
        (np.where(SHARES > 0.9, 0.03, np.where(SHARES > 0.8, 0.1, 1.0)), True),
        (np.where(SHARES == 1, np.nan, 1 - SHARES), False),
    ],
)
def test_curves_that_are_still_falling(losses: np.ndarray, falling: bool) -> None:
    assert is_still_falling(losses, SHARES) == falling
    # The unit of the loss does not matter, nor does a constant.
    assert is_still_falling(1000 * losses - 70, SHARES) == falling


@given(seed=st.integers(0, 10_000), noise=st.sampled_from([0.01, 0.1, 1.0]))
def test_noise_around_a_constant_rarely_falls(seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    curves = noise * random.normal(size=(200, 50)) + 0.3
    curves[:, 0] = 1.0
    assert sum(is_still_falling(losses, SHARES) for losses in curves) <= 8


def test_few_points_allow_no_judgement() -> None:
    assert not is_still_falling(1 - SHARES[::5], SHARES[::5])
    assert not is_still_falling(np.array([]), np.array([]))


def write_fleet(name: str, curves: np.ndarray, steps: int, **lines: Any) -> Path:
    """Writes the curves of a fleet, [members, points]; returns its folder."""
    folder = Path(name)
    folder.mkdir()
    at = np.linspace(0, steps, curves.shape[1] + 1).astype(int)[1:]
    found = [
        {"fleet": name, "step": int(step), "loss": list(losses)}
        for step, losses in zip(at, curves.T, strict=True)
    ]
    found += [{"fleet": name, "step": step, "validation": values} for step, values in lines.items()]
    content = "".join(json.dumps(x) + "\n" for x in found)
    (folder / "curves.jsonl").write_text(content)
    return folder


def training(schedule: Any = "constant", **changes: Any) -> TrainConfig:
    return TrainConfig(200, 4, OptimizerConfig(schedule), **changes)


def judge(
    folder: Path, train: TrainConfig, members: dict[str, list[int]], teachers: int = 0
) -> list[str]:
    """Judges the members of a fleet, as students by method, and the first ones as teachers."""

    def trained(place: int) -> Any:
        return types.SimpleNamespace(folder=folder, position=place)

    model = {"name": "mlp", "hidden": (2,), "dropout": 0.0}
    teacher = Networks(count=1, learning_rate=0.1, weight_decay=0.0, train=train, model=model)
    config = types.SimpleNamespace(teacher=teacher, student=types.SimpleNamespace(train=train))
    outcomes: list[Any] = [
        types.SimpleNamespace(
            student=types.SimpleNamespace(trial=types.SimpleNamespace(method=method)),
            trained=trained(place),
        )
        for method, places in members.items()
        for place in places
    ]
    taught: list[Any] = [
        types.SimpleNamespace(network=types.SimpleNamespace(trained=trained(place)))
        for place in range(teachers)
    ]
    run: Any = types.SimpleNamespace(config=config)
    return judge_training(run, taught, outcomes)


def test_methods_are_named_if_half_of_their_students_were_still_learning() -> None:
    flat, steep = np.exp(-9 * SHARES), 1 - 0.5 * SHARES
    folder = write_fleet("fleet", np.array([steep, flat, flat, steep, steep]), 200)
    members = {"kd": [0, 1], "lelp": [1, 2, 3], "labels": [3, 4]}
    (students,) = judge(folder, training(), members)
    assert "at the end: `kd` (1 of 2), `labels` (2 of 2). Longer" in students
    assert judge(folder, training(), {"kd": [1, 2]}, teachers=0) == []
    teachers, _ = judge(folder, training(), members, teachers=2)
    assert "loss of 1 of 2 teachers was still falling" in teachers
    assert judge(folder, training(), {}, teachers=3) == []


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_the_end_of_a_schedule_hides_no_short_training(schedule: Any) -> None:
    """A loss follows the sum of learning rates, whose last steps are small after a decay."""
    share = np.arange(1, 201) / 200
    spent = {
        "constant": share,
        "cosine": share + np.sin(np.pi * share) / np.pi,
        "linear": 1 - (1 - share) ** 2,
    }[schedule]
    points = spent[3::4]
    for rate, falling in ((1, True), (4, False)):
        folder = write_fleet(f"fleet{rate}", np.exp(-rate * points)[None], 200)
        assert bool(judge(folder, training(schedule), {"kd": [0]})) == falling


def test_early_stopping_is_asked_whether_training_was_long_enough() -> None:
    steep = 1 - 0.5 * SHARES
    train = training(early_stopping=EarlyStopping(4))
    for best, named in ((50, False), (150, False), (200, True)):
        scores = {step: [1.0 if step == best else 0.5] for step in (50, 100, 150, 200)}
        name = f"fleet{best}"
        folder = write_fleet(name, steep[None], 200)
        lines = [{"fleet": name, "step": step, "validation": x} for step, x in scores.items()]
        with open(folder / "curves.jsonl", "a") as file:
            file.write("".join(json.dumps(x) + "\n" for x in lines))
        assert bool(judge(folder, train, {"kd": [0]})) == named


# In a run.


def test_a_run_says_that_its_teachers_are_behind(finished_run: Path) -> None:
    lines = tiny.references(finished_run)
    assert [(x["method"], x["replicate"]) for x in lines] == [
        (name, r) for name in ("majority", "linear", "linear_all_rows") for r in range(2)
    ]
    linear = np.mean([x["test"]["accuracy"] for x in lines if x["method"] == "linear_all_rows"])
    teacher = np.mean([x["teacher_test"]["accuracy"] for x in lines[:2]])
    assert linear > teacher
    report = (finished_run / "report" / "report.md").read_text()
    cautions = report.partition("## Cautions")[2].partition("## ")[0]
    assert f"The teacher ({100 * teacher:.2f} %) is no better" in cautions
    assert "selected students was still falling at the end" in cautions
    kept = np.load(finished_run / "report" / "test_predictions.npz")
    assert set(kept["method"]) == {*tiny.METHODS, "majority", "linear", "linear_all_rows"}
    for x in lines:
        own = (kept["method"] == x["method"]) & (kept["replicate"] == x["replicate"])
        (logits,) = kept["class_logits"][own]
        accuracy = (logits.argmax(axis=1) == kept["label"]).mean()
        assert x["test"]["accuracy"] == pytest.approx(accuracy)


def test_students_of_random_labels_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    rows = [f"{x:.3f},{y:.3f},{'ny'[random.integers(2)]}" for x, y in random.normal(size=(300, 2))]
    Path("random.csv").write_text("x,y,label\n" + "\n".join(rows) + "\n")
    changes = [
        "--config.data.train=random.csv",
        "--config.teacher.count=1",
        "--config.teacher.model.hidden=(8,)",
        "--config.student.model.hidden=(8,)",
        "--config.student.train.steps=30",
        *(f"--config.methods.{name}.trials=0" for name in ("lelp", "soft_kmeans", "random_split")),
    ]
    for _ in range(2):
        assert tiny.launch(f"{CONFIGS}/table.py:quick", tmp_path / "run", *changes) == 0
        # Also when all is reused.
        log = capsys.readouterr().err.splitlines()
        (caution,) = [text for text in log if "warning: table-quick: " in text and "maj" in text]
        assert "`kd` (" in caution
        assert "the teacher (" in caution
    report = (tmp_path / "run" / "report" / "report.md").read_text()
    assert f"- {caution.partition('table-quick: ')[2]}\n" in report
