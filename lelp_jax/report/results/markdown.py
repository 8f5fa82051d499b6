"""The report as text: sections of Markdown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lelp_jax.augmentation.config import Augmentation
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.inputs import Inputs
from lelp_jax.report.results import table
from lelp_jax.report.results.comparison import REFERENCE


class Section(NamedTuple):
    """A section of the report.

    Attributes:
        title: The heading; empty for the text right below the report's title.
        text: Markdown; a section without text is left out.
    """

    title: str
    text: str


class Picture(NamedTuple):
    """A picture stored beside the report.

    Attributes:
        file: Its file name.
        caption: A caption in Markdown.
    """

    file: str
    caption: str


class Gallery(NamedTuple):
    """Pictures under one heading.

    Attributes:
        title: The heading.
        pictures: The pictures; a gallery without any is left out.
        introduction: A sentence in Markdown that applies to all of them, or nothing.
    """

    title: str
    pictures: Sequence[Picture]
    introduction: str = ""


def render_document(title: str, sections: Sequence[Section]) -> str:
    """Renders the whole report."""
    parts = [f"# {title}"]
    for section in sections:
        if section.text:
            parts += [f"## {section.title}"] * bool(section.title) + [section.text]
    return "\n\n".join(parts) + "\n"


def write_overview(config: Config, dataset: Dataset, comparison: Mapping[str, Any]) -> Section:
    """Writes the table, the size of the experiment and the rule of selection."""
    transfer = config.data.transfer_size or len(dataset.train)
    teachers = comparison["teachers"]
    parts = [
        f"{comparison['replicates']} replicates, {teachers} teacher{'s' * (teachers != 1)}. Each "
        f"student is trained on {transfer} of {len(dataset.train)} training rows and evaluated on "
        f"{len(dataset.test)} test rows.{_describe_labels(config, dataset)}",
        table.render_table(comparison),
        table.explain_scope(comparison),
        "Values are mean ± standard deviation over replicates; every teacher counts equally in "
        "the mean. For each method, the hyperparameters with the best mean validation "
        f"{config.report.selection_metric} were selected; only the selected students were "
        "evaluated on the test rows.",
    ]
    if comparison["references"]:
        parts.append(
            "`majority` answers the most frequent class of the training rows, with the shares of "
            "the classes as probabilities. `linear` is a logistic regression on the labelled rows "
            "of each replicate's students, `linear_all_rows` one on all labelled training rows, "
            "which the teachers see. Their penalty was chosen like hyperparameters. They are no "
            "methods: Holm's correction does not count them."
        )
    return Section("", "\n\n".join(parts))


def _describe_labels(config: Config, dataset: Dataset) -> str:
    """Says how many labels of training rows are known, if others are hidden."""
    if len(dataset.labelled_train):
        return ""
    count = config.data.labelled_rows
    return (
        f" Each teacher and its students know the labels of {count} training rows, drawn anew for "
        "each teacher."
    )


def describe_inputs(dataset: Dataset, inputs: Inputs, augmentation: Augmentation) -> Section:
    """Describes what reaches the students: sizes, random changes, and the notes of the inputs."""
    lines = list(inputs.notes)
    if dataset.of_images:
        height, width, channels = dataset.inputs.shape[1:]
        lines.insert(
            0,
            f"images of {height} x {width} x {channels} (height x width x channels), with pixels "
            "from 0 to 255 scaled to -2 to 2",
        )
        changes = dataclasses.asdict(augmentation)
        text = ", ".join(f"{name} {value:g}" for name, value in changes.items() if value)
        if text:
            lines.append(f"in training, images are changed at random in every step: {text}")
    if dataset.of_texts:
        size = f", from a vocabulary of {inputs.num_tokens:,}" if inputs.num_tokens else ""
        lines.insert(0, f"at most {dataset.max_length} tokens of each text{size}")
    return Section("Student inputs", "\n".join(f"- {line}" for line in lines))


def explain_differences(comparison: Mapping[str, Any]) -> Section:
    """Explains how the table's intervals, p-values and wins are computed."""
    baseline = comparison["baseline"]
    if not any("difference" in row for row in comparison["methods"]):
        return Section("", "")
    lines = [
        f"Differences to {baseline} are paired by replicate: the two students share their training "
        "rows, the initial weights of the layers that both have, and, unless a method trains "
        "its own teachers, the teacher.",
        "",
    ]
    if comparison["scope"] != "too few replicates":
        lines += _explain_inference(comparison)
    ties = [f"{row['method']} {row['ties']}" for row in comparison["methods"] if row.get("ties")]
    lines.append(
        f"- wins: replicates in which the method is better than {baseline}, out of all that were "
        f"compared. Ties do not count as wins: {', '.join(ties) or 'none'}."
    )
    return Section("Differences", "\n".join(lines))


def _explain_inference(comparison: Mapping[str, Any]) -> list[str]:
    """Explains how intervals and p-values are computed."""
    units = "teachers, each the mean of its replicates,"
    if comparison["scope"] == "these teachers":
        units = "replicates within teachers"
    compared = comparison["compared"]
    lines = [
        f"- Interval: {100 * comparison['confidence']:g} % t interval. Its variance is that "
        f"between {units} plus that between the {comparison['test_rows']} test rows, which all "
        "replicates share. Each interval is for its method alone; it is not corrected for "
        "multiple comparisons.",
    ]
    if compared:
        methods = f"{compared} compared method{'s' * (compared != 1)}"
        lines.append(
            "- p (Holm): from the same t-statistic as the interval, two-sided, with Holm's "
            f"correction over the {methods}. Before the correction, p is below "
            f"{1 - comparison['confidence']:.2g} exactly if the interval excludes 0."
        )
    lines.append("- Interval and p are empty if no difference varies.")
    return lines


def list_notes(comparison: Mapping[str, Any]) -> Section:
    """Lists why methods were refused, and what is special about others on this data."""
    return Section("Notes", "\n".join(f"- {note}" for note in table.list_notes(comparison)))


def list_hyperparameters(comparison: Mapping[str, Any]) -> Section:
    """Lists each method's selected hyperparameters."""
    lines = []
    for row in [*comparison["methods"], *comparison["references"]]:
        if row["status"] == REFERENCE and not row.get("settings"):
            continue
        if "settings" not in row:
            text = "refused" if row["status"] == "refused" else "every trial diverged"
        else:
            text = ", ".join(
                f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row["settings"].items()
            )
        lines.append(f"- {row['method']}: {text}")
    return Section("Selected hyperparameters", "\n".join(lines))


def list_teachers(comparison: Mapping[str, Any]) -> Section:
    """Lists the methods that trained their own teachers, with those teachers' test metric."""
    rows = [row for row in comparison["methods"] if row.get("own_teacher")]
    if not rows:
        return Section("", "")
    metric = comparison["metric"]
    _, unit = table.find_unit(metric)
    common = table.format_metric(metric, comparison["teacher"]) or table.UNDEFINED
    lines = [
        "These methods train their own teachers. Their mean test "
        f"{metric}{unit}, compared to {common} for the common teachers:",
        "",
    ]
    lines += [
        f"- {row['method']}: {table.format_metric(metric, row['teacher']) or table.UNDEFINED}"
        for row in rows
    ]
    return Section("Methods with their own teachers", "\n".join(lines))


def describe_projections(config: Config) -> Section:
    """Describes which rows the projections were fitted on."""
    fitted = []
    for method, entry in config.methods.items():
        if "fit_on" in entry.values:
            fit_on = " or ".join(str(value) for value in entry.values["fit_on"])
            fitted.append(f"{method}: {fit_on}")
    return Section(
        "Rows used to fit projections",
        "`train` means all training rows, `transfer` only the student's training rows. "
        f"{'; '.join(fitted) or 'No method fits a projection'}.",
    )


def render_gallery(gallery: Gallery) -> Section:
    """Renders pictures as links to their files, each under its caption."""
    parts = [gallery.introduction] * bool(gallery.introduction and gallery.pictures)
    for picture in gallery.pictures:
        parts += [f"{picture.caption}:", f"![{picture.file.partition('.')[0]}]({picture.file})"]
    return Section(gallery.title, "\n\n".join(parts))
