"""The report as one HTML file, with an interactive scatter plot of the teacher's embedding.

The file needs neither a network nor other files: data, pictures and script are embedded. Values
from the data, such as class names, appear as text and never as markup.
"""

from __future__ import annotations

import base64
import html
import importlib.resources
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markdown_it import MarkdownIt
from threadpoolctl import threadpool_limits

from lelp_jax.bank.store import Bank
from lelp_jax.core import files, metrics, seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.projection import scoring
from lelp_jax.projection.base import Projection, arrays_of
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report.diagnostics import sample
from lelp_jax.report.explorer import examples
from lelp_jax.report.explorer.examples import round_floats
from lelp_jax.report.results.markdown import Gallery, Picture, Section

_MOST_POINTS = 3000
_MOST_AXES = 10
# With "html" off, HTML in a text is escaped.
_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_SPLIT_NAMES = {"lelp": "LELP", "soft_kmeans": "soft k-means"}


# The matrices are small: on a busy machine, BLAS threads that wait for each other cost far more
# time than they save.
@threadpool_limits.wrap(limits=1, user_api="blas")
def compute_points(
    dataset: Dataset, bank: Bank, *, num_subclasses: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Computes coordinates of the teacher's embedding of validation rows in several views.

    Each class has a view of its LELP directions and one of its soft k-means coordinates, both from
    projections fitted to a sample of the training rows. One more view has the principal components
    of all classes.

    Args:
        dataset: The data.
        bank: The teacher's outputs for training and validation rows.
        num_subclasses: Number of pseudo-subclasses per class; reduced if a class has too few rows
            or directions. Below 2, only the view of all classes remains.
        seed: Seed of samples, rotations and centres.

    Returns:
        JSON-like. Lists with one entry per point: `row`, the data-set index; `id`, or None;
        `label`; `fine`, or None; `predicted`, the teacher's prediction; `confidence`, the
        probability of the prediction; `probability`, that of the label. Beside them, `of`, the
        number of validation rows; `classNames` and `fineNames`; `example` (see
        `examples.describe`); `splits`, each point's pseudo-subclass by the name of the split; and
        `views`, a list of dictionaries with `name`, `axes`, `points` (positions in the lists
        above), `values`, [points, axes], and `centers`, [centers, axes].
    """
    fit = sample.draw(dataset, bank, dataset.labelled_train, seeds.derive(seed, "fit"))
    count = min(_MOST_POINTS, len(dataset.validation))
    index = dataset.validation[
        seeds.draw_subset(seeds.derive(seed, "points"), count, len(dataset.validation))
    ]
    rows = sample.read(dataset, bank, index)
    probability = np.exp(metrics.log_softmax(bank.logits[bank.find_positions(index)]))
    width = sample.limit_subclasses(fit, bank.output_weights, num_subclasses)
    splits: Mapping[str, Projection] = {}
    if width >= 2:
        splits = sample.fit(fit, bank.output_weights, width, seeds.derive(seed, "splits"))
    class_views = [
        view
        for label, name in enumerate(dataset.class_names)
        for view in _view_class(splits, rows, label, name)
    ]
    return {
        "of": len(dataset.validation),
        "row": index.tolist(),
        "id": None if dataset.ids is None else [str(name) for name in dataset.ids[index]],
        "label": rows.label.tolist(),
        "fine": None if rows.fine_label is None else rows.fine_label.tolist(),
        "predicted": probability.argmax(axis=1).tolist(),
        "confidence": round_floats(probability.max(axis=1)),
        "probability": round_floats(probability[np.arange(len(index)), rows.label]),
        "classNames": list(dataset.class_names),
        "fineNames": list(dataset.fine_names),
        "example": examples.describe(dataset, index),
        "splits": {
            _SPLIT_NAMES[name]: sample.assign_subclasses(projection, rows).tolist()
            for name, projection in splits.items()
        },
        "views": [*class_views, _view_all_classes(fit, rows)],
    }


def _view_class(
    splits: Mapping[str, Projection], rows: EmbeddedRows, label: int, name: str
) -> list[dict[str, Any]]:
    """Computes the views of one class's rows; none without splits or rows."""
    points = np.flatnonzero(rows.label == label)
    if not splits or not len(points):
        return []
    part = rows.part(points)
    lelp, clusters = splits["lelp"], splits["soft_kmeans"]
    scores = scoring.collect(lelp, part)[:, label]
    arrays = {key: values[label] for key, values in arrays_of(clusters).items() if values.ndim}
    coordinates = (np.asarray(part.embedding) - arrays["mean"]) @ arrays["basis"]
    views = []
    for view, axis, values, centers in (
        ("LELP directions", "direction", scores, np.empty((0, scores.shape[1]))),
        ("soft k-means coordinates", "component", coordinates, arrays["centers"]),
    ):
        entry = _make_view(f"{name}: {view}", axis, points, values[:, :_MOST_AXES])
        views.append({**entry, "centers": round_floats(centers[:, :_MOST_AXES])})
    return views


def _view_all_classes(fit: EmbeddedRows, rows: EmbeddedRows) -> dict[str, Any]:
    """Computes the view of all rows: principal components of the whole embedding.

    Unlike the views of single classes, it includes the directions that the output layer reads.
    """
    from sklearn.decomposition import PCA

    embedding = np.asarray(fit.embedding)
    count = min(_MOST_AXES, *embedding.shape)
    pca = PCA(count, svd_solver="randomized", random_state=0).fit(embedding)
    values = pca.transform(np.asarray(rows.embedding))
    return _make_view(
        "all classes: principal components", "component", np.arange(len(rows)), values
    )


def _make_view(name: str, axis: str, points: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    axes = [f"{axis} {number + 1}" for number in range(values.shape[1])]
    coordinates = {"points": points.tolist(), "values": round_floats(values)}
    return {"name": name, "axes": axes, **coordinates, "centers": []}


def write(
    path: Path,
    title: str,
    overview: str,
    sections: Sequence[Section],
    galleries: Sequence[Gallery],
    points: Mapping[str, Any] | None,
) -> None:
    """Writes the report as an HTML file.

    Args:
        path: The file to write; the pictures are in the same folder.
        title: The experiment's name.
        overview: Text above the scatter plot, in Markdown.
        sections: Text below it, in Markdown.
        galleries: PNG pictures to embed.
        points: The result of `compute_points`, or None for a report without a scatter plot.
    """
    content = {
        "title": html.escape(title),
        "overview": render_markdown(overview),
        "sections": "\n".join(_render_section(section) for section in sections if section.text),
        "pictures": "\n".join(
            _render_gallery(path.parent, gallery) for gallery in galleries if gallery.pictures
        ),
        # A class name might contain "</script>", which would end the script; JSON may escape "<".
        "data": json.dumps(files.clean(points), separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = importlib.resources.files("lelp_jax.report.explorer").joinpath("page.html")
    # All placeholders are replaced in one pass: inserted text may look like a placeholder itself.
    text = re.sub(
        "<!--([a-z]+)-->", lambda match: content[match[1]], template.read_text(encoding="utf-8")
    )
    files.write_atomic(path, text)


def render_markdown(text: str) -> str:
    """Renders Markdown with tables as HTML.

    The first cell of each table row becomes a row heading, which screen readers read out with the
    other cells.
    """
    tokens = _MARKDOWN.parse(text)
    first = False
    for token in tokens:
        if token.type == "tr_open":
            first = True
        elif first and token.type in ("td_open", "td_close"):
            token.tag = "th"
            if token.type == "td_open":
                token.attrSet("scope", "row")
            first = token.type == "td_open"
    return str(_MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {}))


def _render_section(section: Section) -> str:
    heading = f"<h2>{html.escape(section.title)}</h2>\n" if section.title else ""
    return f"<section>{heading}{render_markdown(section.text)}</section>"


def _render_gallery(folder: Path, gallery: Gallery) -> str:
    introduction = render_markdown(gallery.introduction)
    figures = "\n".join(_embed_picture(folder, picture) for picture in gallery.pictures)
    heading = html.escape(gallery.title)
    return f"<section><h2>{heading}</h2>\n{introduction}{figures}</section>"


def _embed_picture(folder: Path, picture: Picture) -> str:
    """Embeds a picture as base64, with its caption as the alternative text."""
    data = base64.b64encode((folder / picture.file).read_bytes()).decode()
    (inline,) = _MARKDOWN.parseInline(picture.caption)
    alternative = html.escape("".join(token.content for token in inline.children or ()))
    return (
        f'<figure><img alt="{alternative}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_MARKDOWN.renderInline(picture.caption)}</figcaption></figure>"
    )
