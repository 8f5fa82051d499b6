"""The report as text: sections of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment.config import Config
from lelp_jax.inputs import Inputs
from lelp_jax.report.results import table
from lelp_jax.report.results.statistics import LEAST_TEACHERS


class Section(NamedTuple):
    """A part of the report.

    Attributes:
        title: Its heading; empty for what follows the title of the whole.
        text: Markdown; a section without text is left out.
    """

    title: str
    text: str


class Picture(NamedTuple):
    """A picture beside the report.

    Attributes:
        file: Its name.
        caption: What it shows, in Markdown.
    """

    file: str
    caption: str


def document(title: str, sections: Sequence[Section]) -> str:
    """Returns the whole report."""
    parts = [f"# {title}"]
    for section in sections:
        if section.text:
            parts += [f"## {section.title}"] * bool(section.title) + [section.text]
    return "\n\n".join(parts) + "\n"


def overview(config: Config, dataset: Dataset, comparison: Mapping[str, Any]) -> Section:
    """Returns the table, what was compared, and how the settings were chosen."""
    transfer = config.data.transfer_size or len(dataset.train)
    parts = [
        f"{comparison['replicates']} replicates, {comparison['teachers']} teacher(s), "
        f"{transfer} of {len(dataset.train)} training rows seen by each student, "
        f"{len(dataset.test)} test rows.",
        table.markdown(comparison),
        "Mean ± standard deviation over replicates. Settings were chosen by mean validation "
        f"{config.report.selection_metric}; the test rows were read once, for the chosen "
        "settings.",
    ]
    return Section("", "\n\n".join(parts))


def student_inputs(dataset: Dataset, seen: Inputs) -> Section:
    """Returns how much of a text the students see, and what else is to be known of their inputs."""
    lines = list(seen.notes)
    if dataset.of_texts:
        known = f", from a vocabulary of {seen.num_tokens:,}" if seen.num_tokens else ""
        lines.insert(0, f"at most {dataset.max_length} tokens of a text{known}")
    return Section("What the students see", "\n".join(f"- {line}" for line in lines))


def differences(comparison: Mapping[str, Any]) -> Section:
    """Returns what the intervals, p-values and wins of the table are."""
    baseline = comparison["baseline"]
    if not any("difference" in row for row in comparison["methods"]):
        return Section("", "")
    clustered = comparison["teachers"] >= LEAST_TEACHERS
    within = " within resampled teachers" if clustered else ""
    lines = [
        f"Differences to {baseline} are paired within replicates: same rows, same initial weights "
        "of what both networks have and, but for methods with teachers of their own, same teacher.",
        "",
        f"- Interval: {100 * comparison['confidence']:g} % percentile bootstrap over "
        f"replicates{within}. Each is for its method alone, not corrected for their number.",
    ]
    compared = comparison["compared"]
    if compared:
        test = "two-sided paired t-test over replicates"
        if clustered:
            test += (
                f", teachers as clusters (cluster-robust standard error, "
                f"{comparison['teachers'] - 1} degrees of freedom)"
            )
        lines.append(
            f"- p (Holm): {test}; after Holm's correction over the {compared} method(s) compared. "
            "Empty where one replicate, or differences that are all the same, allow no test."
            + (" It allows for how few the teachers are, which the interval does not." * clustered)
        )
    ties = [f"{row['method']} {row['ties']}" for row in comparison["methods"] if row.get("ties")]
    lines.append(
        f"- wins: replicates in which the method is better than {baseline}, of all compared. "
        f"Ties are no wins: {', '.join(ties) or 'none'}."
    )
    return Section("Differences", "\n".join(lines))


def notes(comparison: Mapping[str, Any]) -> Section:
    """Returns why methods were refused, or what is special about them on this data."""
    return Section("Notes", "\n".join(f"- {note}" for note in table.notes(comparison)))


def chosen_settings(comparison: Mapping[str, Any]) -> Section:
    """Returns the settings that each method's validation rows chose."""
    lines = []
    for row in comparison["methods"]:
        if "settings" not in row:
            said = "refused" if row["status"] == "refused" else "every trial diverged"
        else:
            said = ", ".join(
                f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
                for key, value in row["settings"].items()
            )
        lines.append(f"- {row['method']}: {said}")
    return Section("Chosen settings", "\n".join(lines))


def teachers(comparison: Mapping[str, Any]) -> Section:
    """Returns which methods learnt from teachers of their own, and how good these are."""
    own = [row for row in comparison["methods"] if row.get("own_teacher")]
    if not own:
        return Section("", "")
    factor, unit = table.scale(comparison["metric"])
    lines = [
        "These methods trained teachers for themselves; mean test "
        f"{comparison['metric']}{unit} of those, where the common teachers have "
        f"{factor * comparison['teacher']:.2f}:",
        "",
    ]
    lines += [f"- {row['method']}: {factor * row['teacher']:.2f}" for row in own]
    return Section("Teachers of their own", "\n".join(lines))


def projections(config: Config) -> Section:
    """Returns on which rows the projections were fitted."""
    fitted = []
    for method, entry in config.methods.items():
        if "fit_on" in entry.values:
            fit_on = " or ".join(str(value) for value in entry.values["fit_on"])
            fitted.append(f"{method}: {fit_on}")
    return Section(
        "What the projections saw",
        "Rows on which projections were fitted (train: all training rows, transfer: only those the "
        f"student sees): {'; '.join(fitted) or 'no method fits one'}.",
    )


def pictures(title: str, shown: Sequence[Picture], introduction: str = "") -> Section:
    """Returns pictures under their captions.

    Args:
        title: The heading.
        shown: The pictures; without any the section is empty.
        introduction: What holds for all of them.
    """
    parts = [introduction] * bool(introduction and shown)
    for picture in shown:
        parts += [f"{picture.caption}:", f"![{picture.file.partition('.')[0]}]({picture.file})"]
    return Section(title, "\n\n".join(parts))
