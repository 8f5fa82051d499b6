"""The report as one HTML file, with a scatter of the teacher's embedding to look around in.

The file needs no network and nothing beside itself. n points, a axes.
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
from threadpoolctl import threadpool_limits

from lelp_jax.bank.store import Bank
from lelp_jax.core import files, metrics, seeds
from lelp_jax.data.dataset import Dataset
from lelp_jax.projection import scoring
from lelp_jax.projection.base import Projection, arrays_of
from lelp_jax.projection.engine.rows import EmbeddedRows
from lelp_jax.report.diagnostics import sample
from lelp_jax.report.explorer import examples
from lelp_jax.report.explorer.examples import rounded
from lelp_jax.report.results import markup
from lelp_jax.report.results.markdown import Picture, Section

_MOST_POINTS = 3000
_MOST_AXES = 10
_SPLIT_NAMES = {"lelp": "LELP", "soft_kmeans": "soft k-means"}


# The matrices are small: on a busy machine, threads that wait for each other take far longer.
@threadpool_limits.wrap(limits=1, user_api="blas")
def views(
    dataset: Dataset, bank: Bank, *, num_subclasses: int = 10, seed: int = 0
) -> dict[str, Any]:
    """Returns the teacher's embedding of validation rows, seen from several sides.

    LELP and soft k-means are fitted to a sample of the training rows, at most 2,000 of every class.

    Args:
        dataset: The data.
        bank: The teacher's answers to training and validation rows.
        num_subclasses: How many pseudo-subclasses are wanted per class; fewer are taken where a
            class has not rows or directions enough, and none where fewer than 2 are left.
        seed: Seed of draws, rotations and centres.

    Returns:
        JSON-like, with one entry per point in each list: `row`, its data-set index, `id` or None,
        `label`, `fine` or None, `predicted` by the teacher, `confidence`, the probability of that,
        and `probability`, that of the label. Beside them `of`, the number of validation rows;
        `classNames` and `fineNames`; `example` (`examples.describe`); `splits`, by name, each
        point's pseudo-subclass in its own class; and `views`, a list with `name`, `axes`, `points`
        (positions), `values` [points, axes] and `centers` [m, axes].
    """
    fit = sample.draw(dataset, bank, dataset.labelled_train, seeds.derive(seed, "fit"))
    count = min(_MOST_POINTS, len(dataset.validation))
    shown = dataset.validation[
        seeds.subset(seeds.derive(seed, "points"), count, len(dataset.validation))
    ]
    rows = sample.read(dataset, bank, shown)
    probability = np.exp(metrics.log_softmax(bank.logits[bank.position(shown)]))
    width = sample.most_subclasses(fit, bank.output_weights, num_subclasses)
    splits: Mapping[str, Projection] = {}
    if width >= 2:
        splits = sample.fit(fit, bank.output_weights, width, seeds.derive(seed, "splits"))
    of_classes = [
        view
        for label, name in enumerate(dataset.class_names)
        for view in _of_class(splits, rows, label, name)
    ]
    return {
        "of": len(dataset.validation),
        "row": shown.tolist(),
        "id": None if dataset.ids is None else [str(name) for name in dataset.ids[shown]],
        "label": rows.label.tolist(),
        "fine": None if rows.fine_label is None else rows.fine_label.tolist(),
        "predicted": probability.argmax(axis=1).tolist(),
        "confidence": rounded(probability.max(axis=1)),
        "probability": rounded(probability[np.arange(len(shown)), rows.label]),
        "classNames": list(dataset.class_names),
        "fineNames": list(dataset.fine_names),
        "example": examples.describe(dataset, shown),
        "splits": {
            _SPLIT_NAMES[name]: sample.subclass(projection, rows).tolist()
            for name, projection in splits.items()
        },
        "views": [*of_classes, _of_all(fit, rows)],
    }


def _of_class(
    splits: Mapping[str, Projection], rows: EmbeddedRows, label: int, name: str
) -> list[dict[str, Any]]:
    own = np.flatnonzero(rows.label == label)
    if not splits or not len(own):
        return []
    part = rows.part(own)
    lelp, clusters = splits["lelp"], splits["soft_kmeans"]
    scores = scoring.collect(lelp, part)[:, label]
    arrays = {key: values[label] for key, values in arrays_of(clusters).items() if values.ndim}
    coordinates = (np.asarray(part.embedding) - arrays["mean"]) @ arrays["basis"]
    found = []
    for view, axis, values, centers in (
        ("LELP directions", "direction", scores, np.empty((0, scores.shape[1]))),
        ("soft k-means coordinates", "component", coordinates, arrays["centers"]),
    ):
        entry = _view(f"{name}: {view}", axis, own, values[:, :_MOST_AXES])
        found.append({**entry, "centers": rounded(centers[:, :_MOST_AXES])})
    return found


def _of_all(fit: EmbeddedRows, rows: EmbeddedRows) -> dict[str, Any]:
    """Returns the principal components of the whole embedding, the logits' directions included."""
    from sklearn.decomposition import PCA

    seen = np.asarray(fit.embedding)
    found = PCA(min(_MOST_AXES, *seen.shape), svd_solver="randomized", random_state=0).fit(seen)
    values = found.transform(np.asarray(rows.embedding))
    return _view("all classes: principal components", "component", np.arange(len(rows)), values)


def _view(name: str, axis: str, points: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    axes = [f"{axis} {number + 1}" for number in range(values.shape[1])]
    shown = {"points": points.tolist(), "values": rounded(values)}
    return {"name": name, "axes": axes, **shown, "centers": []}


def write(
    path: Path,
    title: str,
    table: Sequence[Sequence[str]],
    sections: Sequence[Section],
    pictures: Sequence[Picture],
    points: Mapping[str, Any] | None,
) -> None:
    """Writes the file.

    Args:
        path: Where; the pictures lie beside it.
        title: The experiment's name.
        table: The comparison, the headings first.
        sections: Text below the scatter, in the Markdown that `markup` knows.
        pictures: PNG files that are taken into it.
        points: What `views` returned, or None for a report without a scatter.
    """
    shown = [_picture(path.parent / picture.file, picture.caption) for picture in pictures]
    content = {
        "title": html.escape(title),
        "table": markup.table(table),
        "sections": "\n".join(markup.section(section) for section in sections if section.text),
        "pictures": "\n".join(shown),
        # "<" may not stand in a script: a name might hold its end.
        "data": json.dumps(files.clean(points), separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = importlib.resources.files("lelp_jax.report.explorer").joinpath("page.html")
    # In one pass, so that what is put in is not searched for places itself.
    text = re.sub(
        "<!--([a-z]+)-->", lambda place: content[place[1]], template.read_text(encoding="utf-8")
    )
    files.write_atomic(path, text)


def _picture(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    words = html.escape(re.sub(r"[*`]", "", caption))
    return (
        f'<figure><img alt="{words}" src="data:image/png;base64,{data}">'
        f"<figcaption>{markup.inline(caption)}</figcaption></figure>"
    )
