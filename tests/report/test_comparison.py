"""The numbers of the comparison, from result lines."""

import json
from typing import Any

import numpy as np
import pytest
import scipy.stats

from lelp_jax.core import files
from lelp_jax.report.results.statistics import correct_p_values
from tests.helpers.result_lines import compared, copies, line, refused

KD = (0.5, 0.7, 0.6, 0.8)
LELP = (0.6, 0.7, 0.8, 0.7)


def lines() -> list[dict[str, Any]]:
    result = [line("kd", r, value) for r, value in enumerate(KD)]
    result += [line("kd", r, None, trial=1, status="diverged") for r in range(2)]
    result += [line("kd", r, None, trial=1) for r in range(2, 4)]
    result += [
        line("lelp", r, value, trial=2, num_outputs=20, train_seconds=5.0)
        for r, value in enumerate(LELP)
    ]
    result += [line("oracle", r, None, status="diverged") for r in range(4)]
    return result


def test_comparison_of_hand_made_lines():
    result = compared(lines())
    assert [row["method"] for row in result["methods"]] == ["kd", "lelp", "oracle"]
    kd, lelp, oracle = result["methods"]
    assert result["replicates"] == 4
    assert result["teachers"] == 2
    assert result["teacher"] == pytest.approx(0.925)
    assert kd["value"]["mean"] == pytest.approx(0.65)
    assert kd["value"]["std"] == pytest.approx(np.std(KD, ddof=1))
    assert (kd["trials"], kd["diverged"]) == (2, 2)
    assert "difference" not in kd
    assert lelp["trials"] == 1
    assert lelp["num_outputs"] == 20
    assert lelp["train_seconds"] == 5
    assert lelp["nll"] == pytest.approx(0.3)
    assert lelp["ece"] == pytest.approx(0.07)
    assert lelp["agreement"] == pytest.approx(0.35)
    gain = np.subtract(LELP, KD)
    assert lelp["difference"]["mean"] == pytest.approx(gain.mean())
    assert lelp["difference"]["std"] == pytest.approx(gain.std(ddof=1))
    # The teachers' gains (0.1, 0.2) and (0, -0.1) have the pooled variance 0.005 with 2 degrees.
    error = np.sqrt(0.005 / 4)
    width = scipy.stats.t.ppf(0.975, 2) * error
    assert lelp["difference"]["low"] == pytest.approx(0.05 - width)
    assert lelp["difference"]["high"] == pytest.approx(0.05 + width)
    assert (lelp["wins"], lelp["losses"], lelp["ties"]) == (2, 1, 1)
    assert lelp["p_raw"] == pytest.approx(2 * scipy.stats.t.sf(0.05 / error, 2))
    assert result["scope"] == "these teachers"
    assert lelp["p"] == lelp["p_raw"]
    assert result["compared"] == 1
    assert (kd["status"], lelp["status"]) == ("ok", "ok")
    assert oracle == {
        "method": "oracle",
        "status": "diverged",
        "note": None,
        "trials": 1,
        "diverged": 4,
    }


def test_differences_are_paired_whatever_the_order_of_lines():
    ordered = compared(lines())
    for seed in range(3):
        shuffled = [lines()[i] for i in np.random.default_rng(seed).permutation(len(lines()))]
        again = compared(shuffled)
        for row in ordered["methods"]:
            other = next(r for r in again["methods"] if r["method"] == row["method"])
            for key in ("wins", "losses", "diverged"):
                assert other.get(key) == row.get(key)
            for key in ("value", "difference"):
                if key in row:
                    assert other[key] == pytest.approx(row[key])


def test_teachers_stay_with_their_students_whatever_the_order_of_lines():
    """Three teachers: they are resampled, so an interval depends on who taught whom."""
    values = np.random.default_rng(0).uniform(0.5, 0.9, 12) + np.repeat([0.0, 0.04, 0.1], 4)
    made = [line("kd", r, float(v), teacher=r // 4) for r, v in enumerate(values)]
    ordered = compared(made)["methods"][0]["value"]
    for seed in range(3):
        shuffled = [made[i] for i in np.random.default_rng(seed).permutation(len(made))]
        again = compared(shuffled)["methods"][0]["value"]
        assert again == pytest.approx(ordered)


def test_without_a_baseline_that_trained_there_are_no_differences():
    only = [x for x in lines() if x["method"] != "kd"]
    only += [line("kd", r, None, status="diverged") for r in range(4)]
    rows = {row["method"]: row for row in compared(only)["methods"]}
    assert "difference" not in rows["lelp"]
    assert rows["lelp"]["value"]["mean"] == pytest.approx(np.mean(LELP))
    assert rows["kd"]["diverged"] == 4


def test_a_comparison_in_which_all_diverged():
    made = [line("kd", r, None, status="diverged") for r in range(2)]
    result = compared(made, "nll", confidence=0.9)
    assert result["teacher"] is None
    assert [(row["status"], row["diverged"]) for row in result["methods"]] == [("diverged", 2)]
    assert "value" not in result["methods"][0]


def test_every_method_that_was_trained_is_corrected_for():
    """Neither the baseline, nor what was refused or copied, nor what diverged makes p larger."""
    random = np.random.default_rng(2)
    made = lines()
    for name in ("a", "b", "c"):
        made += [line(name, r, float(0.7 + random.normal(0, 0.1))) for r in range(4)]
    made += refused("d", 4, "no gradient") + copies(made, "kd", "e", "same loss")
    result = compared(made)
    rows = {row["method"]: row for row in result["methods"]}
    tested = ["lelp", "a", "b", "c"]
    assert [name for name, row in rows.items() if "p" in row] == tested
    assert result["compared"] == 4
    wanted = correct_p_values([rows[name]["p_raw"] for name in tested])
    assert [rows[name]["p"] for name in tested] == pytest.approx(wanted)
    assert rows["a"]["p"] > rows["a"]["p_raw"]


def test_refused_methods_have_a_reason_and_no_numbers():
    made = lines() + refused("d", 4, "no gradient")
    row = compared(made)["methods"][-1]
    assert row == {
        "method": "d",
        "status": "refused",
        "note": "no gradient",
        "trials": 0,
        "diverged": 0,
    }


def test_refused_methods_of_unknown_teachers_change_no_count():
    made = lines() + [entry | {"teacher": None} for entry in refused("d", 4, "no gradient")]
    assert compared(made)["teachers"] == 2


def test_a_refused_baseline_leaves_a_table_without_differences():
    made = refused("d", 4, "no gradient") + lines()
    result = compared(made, baseline="d")
    assert not any("difference" in row for row in result["methods"])
    assert result["compared"] == 0
    assert result["teacher"] == pytest.approx(0.925)


def test_a_method_that_equals_another_has_its_numbers_but_no_test():
    made = lines() + copies(lines(), "lelp", "e", "same loss")
    _, lelp, _, same = compared(made)["methods"]
    assert (same["status"], same["note"]) == ("equals:lelp", "same loss")
    assert same["value"] == lelp["value"]
    assert same["difference"] == lelp["difference"]
    assert "p" not in same


def test_notes_of_trained_methods_are_kept():
    made = lines() + [line("dist", r, 0.5, note="one term is constant") for r in range(4)]
    assert compared(made)["methods"][-1]["note"] == "one term is constant"


def test_where_less_is_better_a_win_is_below():
    """The losses are 1 - accuracy, so the differences change sign and the wins stay."""
    lelp = compared(lines(), "nll")["methods"][1]
    assert lelp["difference"]["mean"] == pytest.approx(-np.subtract(LELP, KD).mean())
    assert (lelp["wins"], lelp["losses"], lelp["ties"]) == (2, 1, 1)


def test_teachers_are_those_of_the_baseline():
    made = [
        entry | {"teacher_test": {"accuracy": 0.1 * entry["teacher"], "nll": 1.0}}
        if entry["method"] == "lelp"
        else entry
        for entry in lines()
    ]
    result = compared(list(reversed(made)))
    rows = {row["method"]: row for row in result["methods"]}
    assert result["teacher"] == pytest.approx(0.925)
    assert rows["lelp"]["teacher"] == pytest.approx(0.05)
    assert (rows["kd"]["own_teacher"], rows["lelp"]["own_teacher"]) == (False, True)


def test_results_read_from_a_file_give_the_same_comparison():
    """There, what is not a number is null."""
    nan = float("nan")
    made = [
        entry | {"test": {**entry["test"], "agreement": nan, "roc_auc": nan}}
        if entry["test"]
        else entry
        for entry in lines()
    ]
    read = json.loads(json.dumps(files.clean(made)))
    for metric in ("accuracy", "roc_auc"):
        for made_of in (made, read):
            for entry in made_of:
                if entry["teacher_test"]:
                    entry["teacher_test"]["roc_auc"] = None
        one, other = (compared(x, metric) for x in (made, read))
        assert files.clean(one) == files.clean(other)
