"""Published values beside those of a run, and how a config gives them."""

import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import build
from lelp_jax.experiment.config import PublishedConfig, ReportConfig
from lelp_jax.report.explorer.page import render_markdown
from lelp_jax.report.results.published import compare_to_published
from tests.helpers.result_lines import compared, everything, line


def published(**values: object) -> PublishedConfig:
    """Builds the section as a config file gives it."""
    return build(PublishedConfig, {"source": "Table 1", **values}, "config.report.published")


def rows(text: str) -> list[list[str]]:
    return [
        [cell.strip() for cell in row[1:-1].split("|")]
        for row in text.splitlines()
        if row.startswith("|")
    ]


def test_differences_are_those_of_the_numbers_by_hand() -> None:
    made = [line("kd", r, v) for r, v in enumerate((0.5, 0.7))]
    made += [line("lelp", r, v) for r, v in enumerate((0.8, 0.9))]
    made += [line("labels", r, 0.5) for r in range(2)]
    values = {"oracle": 86.42, "lelp": 79.91, "kd": 72.87}
    section = compare_to_published(published(teacher=78.69, methods=values), compared(made))
    assert section.title == "Published and ours"
    head, _, *body = rows(section.text)
    assert head[1:] == [
        "published accuracy %",
        "ours",
        "ours minus published",
        "published minus kd",
        "ours minus kd",
    ]
    # In the order of the comparison; the oracle was not compared, the labels are not published.
    assert body == [
        ["kd", "72.87", "60.00", "-12.87", "", ""],
        ["lelp", "79.91", "85.00", "+5.09", "+7.04", "+25.00"],
        ["oracle", "86.42", "", "", "+13.55", ""],
        ["teacher", "78.69", "92.50", "+13.81", "", ""],
    ]


def test_metrics_without_a_percent_sign_stay_as_they_are() -> None:
    made = [line(name, 0, 0.25) for name in ("kd", "lelp")]
    section = compare_to_published(published(methods={"lelp": 0.5}), compared(made, "nll"))
    head, _, *body = rows(section.text)
    assert head[1] == "published nll"
    # The baseline is not published, so there is no published gain over it.
    assert body == [["lelp", "0.5000", "0.7500", "+0.2500", "", "+0.0000"]]


def test_methods_that_were_refused_or_diverged_have_no_value_of_ours() -> None:
    values = {"wild": 1.0, "standardised": 2.0, "dkd": 3.0}
    comparison = compared(everything())
    # Their names are made up, so no config could hold them.
    section = compare_to_published(make(values), comparison)
    body = {row[0]: row[1:] for row in rows(section.text)[2:]}
    assert body["wild"] == ["1.00", "", "", "", ""]
    assert body["standardised"] == ["2.00", "", "", "", ""]
    assert body["dkd"][1] != ""


def make(values: dict[str, float]) -> PublishedConfig:
    result = published()
    object.__setattr__(result, "methods", values)
    return result


def test_nothing_published_is_no_section() -> None:
    comparison = compared([line(name, 0, 0.5) for name in ("kd", "lelp")])
    assert ReportConfig("kd").published == PublishedConfig()
    assert compare_to_published(PublishedConfig(), comparison).text == ""
    assert compare_to_published(published(), comparison).text == ""
    only = compare_to_published(published(teacher=90), comparison)
    assert [row[0] for row in rows(only.text)] == ["method", "---", "teacher"]


def test_any_source_is_text() -> None:
    comparison = compared([line("kd", 0, 0.5)])
    source = "A | <b>*B*</b>\n# [c](d)"
    text = compare_to_published(published(source=source, methods={"kd": 1}), comparison).text
    page = render_markdown(text)
    assert "A | &lt;b&gt;*B*&lt;/b&gt; # [c](d)." in page


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": {"lepl": 80.0}}, "unknown method: 'lepl'; did you mean 'lelp'"),
        ({"methods": {"linear": 80.0}}, "unknown method: 'linear'"),
        ({"methods": {"lelp": "80"}}, "methods.lelp must be a number of 0 or more, got '80'"),
        ({"methods": {"lelp": float("nan")}}, "methods.lelp must be .* got nan"),
        ({"methods": {"lelp": -3}}, "methods.lelp must be .* got -3"),
        ({"methods": ("lelp", 80)}, "published.methods must be a section"),
        ({"teacher": float("inf")}, "published.teacher must be .* got inf"),
        ({"methods": {"lelp": 80}, "source": ""}, "source is empty; say where"),
        ({"teacher": 80, "source": ""}, "source is empty; say where"),
        ({"values": {}}, "unknown key of config.report.published: 'values'"),
    ],
)
def test_what_the_section_can_get_wrong(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        published(**values)
    assert "config.report.published" in str(error.value)
    assert "\n" not in str(error.value)
