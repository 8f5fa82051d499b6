"""The report's pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from lelp_jax.core import files
from lelp_jax.report.figures import plots, sensitivity, sweeps
from tests.helpers.result_lines import GAINS, compared, drawn, everything, line


def pixels(path: str) -> tuple[int, ...]:
    """Returns height and width of a picture that shows something."""
    image = imread(path)
    assert image[..., :3].std() > 0.02
    return image.shape[:2]


def test_pictures_grow_with_the_number_of_methods(recwarn: pytest.WarningsRecorder) -> None:
    many = {f"method_{number}": 0.001 * number for number in range(13)} | {"kd": 0.0}
    for number, gains in enumerate((GAINS, many)):
        comparison = compared([x for x in drawn(gains, 4, 3) if x["selected"]])
        assert plots.draw_methods(Path(f"methods{number}.png"), comparison)
        losses = {name: (np.arange(5), np.ones((2, 5))) for name in gains}
        plots.draw_curves(Path(f"curves{number}.png"), losses)
    for name in ("methods", "curves"):
        assert pixels(f"{name}1.png")[0] > pixels(f"{name}0.png")[0]
    # At most five panels stand side by side.
    assert pixels("curves1.png")[1] == pytest.approx(1.25 * pixels("curves0.png")[1], rel=0.01)
    assert not recwarn.list


def test_pictures_of_little() -> None:
    """One replicate has no interval; a baseline that diverged no differences."""
    single = compared([line(name, 0, 0.5) for name in ("kd", "lelp")])
    diverged = [line("kd", r, None, status="diverged") for r in range(2)]
    without = compared([line("lelp", r, 0.5 + 0.1 * r) for r in range(2)] + diverged)
    for number, comparison in enumerate((single, files.clean(single), without)):
        assert plots.draw_methods(Path(f"{number}.png"), comparison)
        sweeps.draw(Path(f"sweep{number}.png"), "data", [("a", comparison), ("b", comparison)])
        assert pixels(f"{number}.png")
        assert pixels(f"sweep{number}.png")
    assert not plots.draw_methods(Path("none.png"), compared(diverged))
    assert not Path("none.png").exists()


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Returns the figures that are saved from here on."""
    result: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: result.append(self))
    return result


def test_filled_are_the_baseline_and_what_differs_clearly(figures: list[Figure]) -> None:
    comparison = compared([x for x in drawn(GAINS, 8, 3) if x["selected"]])
    for row, (raw, corrected) in zip(
        comparison["methods"], [(0.01, 0.03), (None, None), (0.02, 0.06), (0.5, 0.5)], strict=True
    ):
        row |= {"p_raw": raw, "p": corrected}
    wanted = [True, True, False, False]
    plots.draw_methods(Path("methods.png"), comparison)
    values, differences = figures[0].axes
    for axes, expected in ((values, wanted), (differences, [True, False, False])):
        points = [x for x in axes.get_lines() if x.get_marker() == "o"]
        assert [x.get_markerfacecolor() != "white" for x in points] == expected
    shown = [x.get_xdata()[0] for x in values.get_lines() if x.get_marker() == "o"]
    np.testing.assert_allclose(shown, [100 * x["value"]["mean"] for x in comparison["methods"]])


@pytest.mark.parametrize(
    ("values", "scale", "places"),
    [
        ([50, 200, 1077], "log", [50, 200, 1077]),
        ([100, 200, 2000], "linear", [100, 200, 2000]),
        ([0, 1, 30.5], "linear", [0, 1, 30.5]),
        (["digits", "sst2", "spam"], "linear", [0, 1, 2]),
    ],
)
def test_curves_over_numbers_and_texts(
    values: list[Any], scale: str, places: list[float], figures: list[Figure]
) -> None:
    runs = [compared([x for x in drawn(GAINS, 4, 3, n) if x["selected"]]) for n in range(3)]
    # One method was not in all of the runs.
    runs[1] |= {"methods": [row for row in runs[1]["methods"] if row["method"] != "oracle"]}
    sweeps.draw(Path("sweep.png"), "what differs", list(zip(values, runs, strict=True)))
    left, right = figures[0].axes
    assert (left.get_xscale(), right.get_xscale()) == (scale, scale)
    [teacher] = [shown for shown in left.get_lines() if shown.get_label() == "teacher"]
    assert list(teacher.get_xdata()) == places
    np.testing.assert_allclose(teacher.get_ydata(), [100 * run["teacher"] for run in runs])
    assert "teacher" not in [shown.get_label() for shown in right.get_lines()]
    for axes, key in ((left, "value"), (right, "difference")):
        drawn_ = {container.get_label(): container.lines for container in axes.containers}
        assert list(drawn_) == [name for name in GAINS if key == "value" or name != "kd"]
        for name, (points, _, (bars,)) in drawn_.items():
            own = [[x[key] for x in run["methods"] if x["method"] == name] for run in runs]
            assert list(points.get_xdata()) == [x for x, y in zip(places, own, strict=True) if y]
            assert (points.get_linestyle() == "None") == isinstance(values[0], str)
            found = [value for run in own for value in run]
            np.testing.assert_allclose(
                points.get_ydata(orig=False), [100 * x["mean"] for x in found]
            )
            ends = [[100 * x["low"], 100 * x["high"]] for x in found]
            shown = np.array([bar[:, 1] for bar in bars.get_segments()], float)
            np.testing.assert_allclose(shown, ends)


def test_a_method_far_off_does_not_press_the_others_together() -> None:
    near = np.linspace(0.9, 0.92, 40)
    low, high = plots.choose_limits([*near, 0.3])
    assert 0.87 < low < 0.9
    assert high == pytest.approx(0.92)
    assert plots.choose_limits([0.5, 0.9]) == pytest.approx((0.5, 0.9))


# Heat maps.


def trial(number: int, value: float | None, **settings: Any) -> list[dict[str, Any]]:
    """Returns two replicates of a trial, whose accuracies are 0.1 apart around a value."""
    status = "diverged" if value is None else "ok"
    return [
        line(
            "lelp",
            replicate,
            None,
            trial=number,
            status=status,
            settings=settings,
            validation={"accuracy": None if value is None else value - 0.05 + 0.1 * replicate},
        )
        for replicate in range(2)
    ]


def test_cells_are_means_over_replicates_and_other_settings() -> None:
    made = trial(0, 0.5, rate=0.1, beta=0.5, temperature=1.0, fixed=3)
    made += trial(1, 0.7, rate=0.2, beta=0.5, temperature=1.0, fixed=3)
    made += trial(2, 0.8, rate=0.1, beta=0.25, temperature=2.0, fixed=3)
    made += trial(3, None, rate=0.2, beta=0.25, temperature=1.0, fixed=3)
    made += trial(4, None, rate=0.3, beta=0.5, temperature=1.0, fixed=3)
    first, *others = sensitivity.make_grids(made, "accuracy")["lelp"]
    assert (first.row_name, first.column_name) == ("beta", "temperature")
    assert (first.row_values, first.column_values) == ((0.25, 0.5), (1.0, 2.0))
    np.testing.assert_allclose(first.mean, [[np.nan, 0.8], [0.6, np.nan]])
    np.testing.assert_array_equal(first.tried, [[True, True], [True, False]])
    assert [(x.row_name, x.column_name) for x in others] == [
        ("rate", "beta"),
        ("rate", "temperature"),
    ]
    sensitivity.draw(Path("grids.png"), "lelp", [first, *others], "accuracy", 1)
    assert pixels("grids.png")


def test_a_trial_with_one_diverged_replicate_counts_as_diverged() -> None:
    made = [x for number in range(4) for x in trial(number, 0.5, a=number % 2, b=number // 2)]
    made[0] |= {"status": "diverged"}
    (grid,) = sensitivity.make_grids(made, "accuracy")["lelp"]
    np.testing.assert_allclose(grid.mean, [[np.nan, 0.5], [0.5, 0.5]])


@pytest.mark.parametrize(("tried", "drawn_"), [(5, False), (6, True)])
def test_pairs_of_which_little_was_tried_are_left_out(tried: int, drawn_: bool) -> None:
    """Of nine cells 55 % or 67 %."""
    cells_ = [(a, b) for a in range(3) for b in range(3)]
    order = [0, 4, 8, 1, 2, 3]
    made = []
    for number, place in enumerate(order[:tried]):
        a, b = cells_[place]
        made += trial(number, 0.5, a=a, b=b)
    assert ("lelp" in sensitivity.make_grids(made, "accuracy")) == drawn_


def test_pairs_of_most_interest_come_first_and_there_are_six_at_most() -> None:
    made = []
    for number in range(32):
        bits = [(number >> place) & 1 for place in range(5)]
        names = ("rate", "temperature", "beta", "num_subclasses", "membership")
        values = dict(zip(names, bits, strict=True))
        values["membership"] = ("label", "teacher")[values["membership"]]
        made += trial(number, 0.5, **values)
    grids = sensitivity.make_grids(made, "accuracy")["lelp"]
    assert [(grid.row_name, grid.column_name) for grid in grids] == [
        ("num_subclasses", "beta"),
        ("beta", "temperature"),
        ("rate", "temperature"),
        ("rate", "beta"),
        ("rate", "num_subclasses"),
        ("rate", "membership"),
    ]


def test_methods_without_pairs_have_no_heat_maps() -> None:
    made = everything()
    assert list(sensitivity.make_grids(made, "accuracy")) == list(GAINS)
    assert sensitivity.make_grids([x for x in made if x["trial"] == 0], "accuracy") == {}


def test_any_name_of_a_class_is_shown(
    figures: list[Figure], recwarn: pytest.WarningsRecorder
) -> None:
    names = ("_a $\\frac$", "b\n c", "d" * 99)
    label, fine = np.arange(12) % 2, np.arange(12) % 4 - 1
    scores = np.random.default_rng(0).normal(size=(12, 2, 2))
    plots.draw_embedding(Path("a.png"), scores, label, fine, names[:2], names)
    figures[0].draw_without_rendering()
    first, second = figures[0].axes
    assert [axes.get_title() for axes in (first, second)] == ["class _a $\\frac$", "class b c"]
    shown = [
        [text.get_text() for text in axes.get_legend().get_texts()] for axes in (first, second)
    ]
    # Rows without a fine label are no rows of the last one.
    assert shown == [["unknown", "b c"], [" _a $\\frac$", "d" * 40 + "…"]]
    assert not recwarn.list
