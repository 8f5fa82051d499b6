"""The report's table and text."""

import dataclasses
import html
import re
from typing import Any

import numpy as np
import pytest

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.core import files
from lelp_jax.inputs import Inputs
from lelp_jax.inputs.features import FeatureEncoding
from lelp_jax.inputs.images import ImageEncoding
from lelp_jax.report.explorer.page import render_markdown
from lelp_jax.report.results import markdown, table
from tests.helpers import planted
from tests.helpers.result_lines import (
    GAINS,
    REASON,
    beside,
    compared,
    drawn,
    everything,
    line,
    refused,
)


def cells(comparison: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Returns the table's texts by method and heading, as Markdown has them."""
    head, _, *body = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
        for row in table.render_table(comparison).splitlines()
    ]
    return {row[0]: dict(zip(head, row, strict=True)) for row in body}


# The table.


def test_table_of_hand_made_lines() -> None:
    made = [line("kd", r, v) for r, v in enumerate((0.5, 0.7, 0.6, 0.8))]
    made += [line("lelp", r, v, parameters=2740) for r, v in enumerate((0.6, 0.7, 0.9, 0.8))]
    rows = cells(compared(made))
    assert list(rows) == ["kd", "lelp", "teacher (2)"]
    interval = rows["lelp"].pop("minus kd [95 % interval]")
    assert interval.startswith("+10.00 [")
    assert rows["lelp"] == {
        "method": "lelp",
        "test accuracy %": "75.00 ± 12.91",
        "p (Holm)": "0.184",
        "wins": "2/4",
        "NLL": "0.250",
        "ECE": "0.075",
        "agreement %": "37.5",
        "outputs": "2",
        "parameters": "2,740",
        "s/student": "2.000",
        "trials": "1",
    }
    assert rows["kd"]["p (Holm)"] == rows["kd"]["wins"] == ""
    assert rows["teacher (2)"]["test accuracy %"] == "92.50"


def test_every_status_has_its_row_in_the_order_of_the_lines() -> None:
    rows = cells(compared(everything()))
    assert list(rows) == [*GAINS, "dkd", "standardised", "wild", "teacher (3)"]
    outcome = {name: list(row.values())[1:5] for name, row in rows.items()}
    assert outcome["dkd"] == [rows["kd"]["test accuracy %"], "= kd", "", ""]
    assert outcome["standardised"] == ["refused", "With two classes the …", "", ""]
    assert outcome["wild"] == ["every trial diverged", "", "", ""]
    assert rows["standardised"]["trials"] == "0"
    assert rows["wild"]["trials"] == "1 (8 diverged)"


def test_references_stand_beside_the_methods_and_below_the_teachers() -> None:
    made = [line("kd", r, v) for r, v in enumerate((0.5, 0.7, 0.6, 0.8))]
    made += [line("lelp", r, v) for r, v in enumerate((0.6, 0.7, 0.9, 0.8))]
    plain = compared(made)
    made += beside({"majority": 0.5, "linear": 0.7, "linear_all_rows": 0.8}, 4)
    comparison = compared(made)
    rows = cells(comparison)
    assert list(rows) == ["kd", "lelp", "majority", "linear", "teacher (2)", "linear_all_rows"]
    linear = rows["linear"]
    assert linear["test accuracy %"] == "70.00 ± 0.00"
    assert linear["minus kd [95 % interval]"].startswith("+5.00 [")
    assert linear["wins"] == "2/4"
    # They are no trials of a method and change no correction.
    assert linear["p (Holm)"] == linear["trials"] == ""
    assert comparison["compared"] == plain["compared"] == 1
    assert comparison["methods"] == plain["methods"]
    text = markdown.list_hyperparameters(comparison).text
    assert "- linear: C 0.1" in text


def test_a_reference_that_could_not_be_fitted_says_why() -> None:
    made = [line("kd", r, 0.5) for r in range(2)]
    absent = {"test": None, "parameters": None, "settings": {}, "note": "no labelled row"}
    made += [x | absent for x in beside({"linear": 0.7}, 2)]
    comparison = compared(made)
    assert cells(comparison)["linear"]["test accuracy %"] == "not fitted"
    assert table.list_notes(comparison) == ["linear: no labelled row"]
    assert "linear" not in markdown.list_hyperparameters(comparison).text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0004, "<0.001"), (0.0496, "0.050"), (1.0, "1.000"), (None, ""), (float("nan"), "")],
)
def test_p_values_as_text(value: float | None, text: str) -> None:
    assert table.format_p_value(value) == text


def test_what_is_not_a_number_is_left_empty() -> None:
    comparison = compared([line(name, 0, 0.5) for name in ("kd", "lelp")])
    comparison["methods"][1]["agreement"] = float("nan")
    for shown in (comparison, files.clean(comparison)):
        text = table.render_table(shown)
        assert "nan" not in text.lower()
        assert "None" not in text
        assert cells(shown)["lelp"]["minus kd [95 % interval]"] == "+0.00"


def test_metrics_that_are_no_shares_have_four_decimals() -> None:
    made = [line("kd", r, v, teacher=r) for r, v in enumerate((0.7511, 0.76, 0.77))]
    made += [line("a", r, v, teacher=r) for r, v in enumerate((0.7512, 0.7603, 0.7702))]
    rows = cells(compared(made, "nll"))
    assert rows["kd"]["test nll"] == "0.2396 ± 0.0095"
    # Gains of 1, 3 and 2 units in the last decimal: 4.3 standard errors to either side.
    assert rows["a"]["minus kd [95 % interval]"] == "-0.0002 [-0.0004, +0.0000]"
    assert rows["teacher (3)"]["test nll"] == "0.0767"


def test_no_number_is_minus_zero_or_nan() -> None:
    made = [line("kd", r, v, teacher=r) for r, v in enumerate((0.5, 0.6, 0.7))]
    made += [line("a", r, v - 1e-5, teacher=r) for r, v in enumerate((0.5, 0.6, 0.7))]
    made += [line("b", r, v - 1e-5, teacher=r) for r, v in enumerate((0.500001, 0.599999, 0.7))]
    made += [line("c", r, 0.5, teacher=r) for r in range(3)]
    for entry in made:
        if entry["method"] == "c":
            entry["test"] |= {"accuracy": None, "nll": None}
    for shown in (compared(made), files.clean(compared(made))):
        text = table.render_table(shown)
        assert "-0.00" not in text
        assert "nan" not in text.lower()
        rows = cells(shown)
        assert rows["a"]["minus kd [95 % interval]"] == "+0.00"
        assert rows["b"]["minus kd [95 % interval]"] == "+0.00 [+0.00, +0.00]"
        assert rows["c"]["test accuracy %"] == "undefined"
        assert rows["c"]["minus kd [95 % interval]"] == rows["c"]["p (Holm)"] == ""


@pytest.mark.parametrize(
    ("replicates", "teachers", "said"),
    [
        (1, 1, "Too few replicates to compare methods: 1 replicate of 1 teacher."),
        (2, 2, "Too few replicates to compare methods: 2 replicates of 2 teachers."),
        (3, 2, "Intervals and p-values need 3 replicates of one teacher, 4 of two, or 3 teachers."),
        (3, 1, "Intervals and p-values are for this teacher: they speak of new students and new"),
        (4, 2, "for these 2 teachers"),
        (4, 3, "new students, new teachers and new test rows (4 replicates, 3 teachers, 4 test"),
    ],
)
def test_the_table_says_of_whom_it_speaks(
    replicates: int, teachers: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = compared(drawn({"kd": 0.0, "lelp": 0.01}, replicates, teachers))
    table.print_table(comparison, "title")
    assert said in capsys.readouterr().out
    assert "corrected" not in table.explain_scope(comparison)
    interval = cells(comparison)["lelp"]["minus kd [95 % interval]"]
    assert ("[" in interval) == ("Too few" not in table.explain_scope(comparison))


def test_the_table_says_that_p_is_corrected_and_the_interval_is_not() -> None:
    text = table.explain_scope(compared(everything()))
    assert text.endswith(" p is corrected for 3 compared methods, intervals are not.")


def test_a_bar_in_a_note_breaks_no_row() -> None:
    made = [line("kd", 0, 0.5), *refused("a", 1, "p(x|y) is flat")]
    assert r"p(x\|y) is flat" in table.render_table(compared(made))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b\\", r"a\\\|b\\"),
        ("a\n b\r\n\u2028c", "a b c"),
        ("<script>x</script><!-- <?", r"\<script>x\</script>\<!-- \<?"),
        ("<0.001 < 3 <3", "<0.001 < 3 <3"),
        ("&lt; &#60; R&D a&b; c", r"\&lt; \&#60; R&D a\&b; c"),
        ("*a* `b` __c__ soft_kmeans _d", r"\*a\* \`b\` \_\_c\_\_ soft_kmeans \_d"),
        ("[a](b) +1 [-1, +2]", r"[a\](b) +1 [-1, +2]"),
    ],
)
def test_no_text_breaks_a_cell(text: str, expected: str) -> None:
    assert table.escape_cell(text) == expected
    # Read as the page reads it, it is what it was, in one line.
    shown = render_markdown(f"| a |\n|---|\n| {expected} |")
    (read,) = re.findall('<th scope="row">(.*?)</th>', shown)
    assert html.unescape(read) == " ".join(text.split())
    assert "<" not in read


def test_a_note_on_any_text_is_one_cell() -> None:
    note = "class '<i>\n|' & co"
    made = [line("kd", 0, 0.5), *refused("a", 1, note)]
    assert r"class '\<i> \|' & co" in table.render_table(compared(made))


def test_printed_table_holds_brackets_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    made = [line("kd", 0, 0.5), *refused("a", 1, "only [bold] steps, and far more to say on it")]
    table.print_table(compared(made), "title")
    out = capsys.readouterr().out
    assert "only [bold] steps, and far …" in out
    assert out.rstrip().endswith("a: only [bold] steps, and far more to say on it")


@pytest.mark.parametrize(("width", "last"), [(60, "NLL"), (100, "outputs"), (400, None)])
def test_narrow_terminals_are_spared_the_last_columns(
    width: int,
    last: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    comparison = compared(drawn({"kd": 0.0}, 2, 1))
    table.print_table(comparison, "title")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    head = next(text for text in lines if "method" in text)
    shown = [name for name in table.list_columns(comparison) if name in head]
    assert len(shown) >= 2
    assert (last in shown) == (last is None) if last else shown == table.list_columns(comparison)
    assert max(map(len, lines)) <= width
    hidden = table.list_columns(comparison)[len(shown) :]
    text = " ".join(" ".join(lines).split())
    if last:
        assert f"Too narrow for: {', '.join(hidden)}. The report has all columns." in text
    else:
        assert "Too narrow" not in text


# The text.


def test_sections_without_text_are_left_out() -> None:
    made = markdown.Section
    text = markdown.render_document(
        "name", [made("", "first"), made("None", ""), made("Two", "second")]
    )
    assert text == "# name\n\nfirst\n\n## Two\n\nsecond\n"


def test_text_says_which_test_and_how_many_were_compared() -> None:
    text = markdown.explain_differences(compared(everything())).text
    assert "over the 3 compared methods" in text
    assert (
        "between teachers, each the mean of its replicates, plus that between the 4 test rows"
        in text
    )
    assert "p is below 0.05 exactly if the interval excludes 0" in text
    text = markdown.explain_differences(compared(drawn(GAINS, 4, 2))).text
    assert "between replicates within teachers plus" in text
    text = markdown.explain_differences(compared(drawn(GAINS, 2, 2))).text
    assert "paired by replicate" in text
    assert "nterval" not in text
    assert "p (Holm)" not in text
    assert markdown.explain_differences(compared(drawn({"kd": 0.0}, 4, 2))) == ("", "")


def test_text_counts_ties() -> None:
    made = [line("kd", r, 0.5) for r in range(3)]
    made += [line("lelp", r, v) for r, v in enumerate((0.5, 0.6, 0.5))]
    made += [line("pca", r, v) for r, v in enumerate((0.4, 0.6, 0.3))]
    assert "Ties do not count as wins: lelp 2." in markdown.explain_differences(compared(made)).text


def test_text_says_what_students_see() -> None:
    texts = planted.dataset(np.arange(4) % 2, np.array(["a", "b", "c", "d"], object))
    numbers = planted.dataset(np.arange(4) % 2, np.eye(4))
    notes = ("1 of 4 texts is cut", "2 % are unknown")
    seen = [Inputs(np.zeros((4, 1)), "a", FeatureEncoding(None), *more) for more in ((900,), (0,))]
    noted = [dataclasses.replace(one, notes=notes) for one in seen]
    words = "- at most 16 tokens of each text"
    assert (
        markdown.describe_inputs(texts, seen[0], Augmentation()).text
        == f"{words}, from a vocabulary of 900"
    )
    assert markdown.describe_inputs(texts, noted[1], Augmentation()).text == (
        f"{words}\n- 1 of 4 texts is cut\n- 2 % are unknown"
    )
    assert markdown.describe_inputs(numbers, seen[1], Augmentation()).text == ""
    assert markdown.describe_inputs(numbers, noted[1], Augmentation()).text.count("\n") == 1


def test_notes_and_settings_of_every_method() -> None:
    comparison = compared(everything())
    assert markdown.list_notes(comparison).text == (
        f"- dkd: The loss is that of kd\n- standardised: {REASON} | no gradient"
    )
    settings = markdown.list_hyperparameters(comparison).text.splitlines()
    assert settings[2] == (
        "- lelp: learning_rate 0.001, num_subclasses 10, beta 0.5, temperature 4"
    )
    assert settings[-2:] == ["- standardised: refused", "- wild: every trial diverged"]


def test_methods_that_learn_from_teachers_of_their_own_are_named() -> None:
    made = drawn(GAINS, 4, 2)
    assert markdown.list_teachers(compared(made)).text == ""
    own = {"accuracy": 0.8123, "nll": 0.5}
    made = [x | {"teacher_test": own} if x["method"] == "lelp" and x["test"] else x for x in made]
    text = markdown.list_teachers(compared(made)).text
    assert "compared to 92.50 for the common teachers" in text
    assert text.endswith("- lelp: 81.23")


def test_pictures_stand_under_their_captions() -> None:
    shown = [markdown.Picture("a.png", "One"), markdown.Picture("b.png", "Two")]
    text = markdown.render_gallery(markdown.Gallery("Title", shown, "Both")).text
    assert text == "Both\n\nOne:\n\n![a](a.png)\n\nTwo:\n\n![b](b.png)"
    assert markdown.render_gallery(markdown.Gallery("Title", [], "Both")).text == ""


def test_images_are_described_by_their_size() -> None:
    images = np.zeros((6, 28, 20, 3), np.uint8)
    encoding = ImageEncoding((28, 20, 3))
    data, inputs = planted.dataset(np.arange(6) % 2, images), Inputs(images, "made", encoding)
    size = "- images of 28 x 20 x 3 (height x width x channels)"
    text = markdown.describe_inputs(data, inputs, Augmentation()).text
    assert text.startswith(size)
    assert "\n" not in text
    text = markdown.describe_inputs(data, inputs, Augmentation(crop=4, flip=0.5)).text
    assert text.startswith(size)
    assert text.endswith("in every step: crop 4, flip 0.5")
