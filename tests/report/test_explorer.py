"""The page that shows the embedding: what it holds, and that nothing in it gets out of hand."""

import base64
import dataclasses
import functools
import html.parser
import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.data.preprocessing import Preprocessing
from lelp_jax.report.explorer import examples
from lelp_jax.report.explorer import page as explorer
from lelp_jax.report.results.markdown import Gallery, Picture, Section
from lelp_jax.report.results.table import escape_cell
from tests.helpers import planted
from tests.helpers.embeddings import complement

EVIL = "</script><script>alert(1)</script>&\"'<!--data-->"


@functools.cache
def points() -> dict:
    return explorer.compute_points(*planted.example(True), num_subclasses=4)


def view(name: str) -> dict:
    (found,) = (entry for entry in points()["views"] if entry["name"] == name)
    return found


def test_points_are_the_validation_rows_with_what_the_teacher_says_of_them():
    dataset, answers = planted.example(True)
    found, rows = points(), dataset.validation
    assert found["row"] == rows.tolist()
    assert found["of"] == len(rows)
    assert found["label"] == dataset.labels[rows].tolist()
    assert found["fine"] == dataset.fine_labels[rows].tolist()
    logits = answers.logits[rows].astype(float)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert found["predicted"] == probability.argmax(axis=1).tolist()
    np.testing.assert_allclose(found["confidence"], probability.max(axis=1), rtol=1e-3)
    own = probability[np.arange(len(rows)), dataset.labels[rows]]
    np.testing.assert_allclose(found["probability"], own, rtol=1e-3)


def test_views_of_a_class_show_its_rows_alone():
    names = [entry["name"] for entry in points()["views"]]
    assert len(names) == len(set(names)) == 5
    for label in range(2):
        own = np.flatnonzero(np.array(points()["label"]) == label).tolist()
        for kind in ("LELP directions", "soft k-means coordinates"):
            assert view(f"class {label}: {kind}")["points"] == own


def test_components_of_all_axes_keep_every_distance():
    dataset, answers = planted.example(True)
    shown = view("all classes: principal components")
    assert len(shown["axes"]) == planted.DIMS
    values, embedding = np.array(shown["values"]), answers.embeddings[dataset.validation]
    np.testing.assert_allclose(
        np.linalg.norm(values[1:] - values[:-1], axis=1),
        np.linalg.norm(embedding[1:] - embedding[:-1], axis=1),
        rtol=1e-2,
    )
    spread = values.std(axis=0)
    assert (spread[:-1] > 0.8 * spread[1:]).all()


def test_clusters_are_those_of_the_nearest_centre_in_the_coordinates_shown():
    dataset, answers = planted.example(True)
    for label in range(2):
        shown = view(f"class {label}: soft k-means coordinates")
        values, centers = np.array(shown["values"]), np.array(shown["centers"])
        nearest = np.square(values[:, None] - centers).sum(axis=2).argmin(axis=1)
        subclass = np.array(points()["splits"]["soft k-means"])[shown["points"]]
        np.testing.assert_array_equal(nearest, subclass)
        # Noise of length 1 in each of eight directions, far less than from cluster to cluster.
        assert np.linalg.norm(values - centers[subclass], axis=1).mean() < 4
        # No length is lost but that along the output weights.
        rows = dataset.validation[shown["points"]]
        outside = answers.embeddings[rows] @ complement(answers.output_weights)
        np.testing.assert_allclose(
            np.linalg.norm(values[1:] - values[:-1], axis=1),
            np.linalg.norm(outside[1:] - outside[:-1], axis=1),
            rtol=1e-2,
        )


def test_lelp_axes_are_the_scores_of_the_pseudo_subclasses():
    for label in range(2):
        shown = view(f"class {label}: LELP directions")
        values = np.array(shown["values"])
        assert values.shape == (len(shown["points"]), 4)
        subclass = np.array(points()["splits"]["LELP"])[shown["points"]]
        np.testing.assert_array_equal(values.argmax(axis=1), subclass)


def test_at_most_so_many_points_are_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explorer, "_MOST_POINTS", 60)
    found = explorer.compute_points(*planted.example(True), num_subclasses=1)
    assert len(found["row"]) == len(set(found["row"])) == 60
    assert found["of"] == 200
    assert np.isin(found["row"], planted.example(True)[0].validation).all()
    assert len(found["views"]) == 1
    assert found["splits"] == {}


class Page(html.parser.HTMLParser):
    """What a browser would make of the file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: dict[str, list[str]] = {}
        self._open = [""]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.texts.setdefault(self._open[-1], []).append(text)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def page(shown: dict | None, title: str = "t", **parts: Any) -> tuple[Page, str]:
    path = Path("report.html")
    given = {"overview": "| method |\n|---|\n| kd |", "sections": [], "galleries": []} | parts
    explorer.write(path, title, **given, points=shown)
    text = path.read_text(encoding="utf-8")
    return Page(text), text


def evil() -> dict:
    dataset, answers = planted.example(True)
    names = np.array([f"{n} {EVIL}" for n in range(len(dataset.labels))])
    named = dataclasses.replace(
        dataset,
        ids=names,
        class_names=(EVIL, "b"),
        preprocessing=Preprocessing(np.float32(0), np.float32(1), (EVIL,) * planted.FEATURES),
    )
    return explorer.compute_points(named, answers, num_subclasses=1)


def test_names_stay_text_whatever_they_hold():
    shown = evil()
    Path("a.png").write_bytes(b"picture")
    found, text = page(
        shown,
        EVIL,
        overview=f"| method | {escape_cell(EVIL)} |\n|---|---|\n| {escape_cell(EVIL)} | 1 |",
        sections=[Section(EVIL, f"{escape_cell(EVIL)}\n\n- {escape_cell(EVIL)}")],
        galleries=[
            Gallery(EVIL, [Picture("a.png", EVIL)], escape_cell(EVIL)),
            Gallery("empty", []),
        ],
    )
    plain, _ = page(None, sections=[Section("a", "b\n\n- c")])
    assert found.count("script") == plain.count("script") == 2
    assert "<script>alert" not in text
    for tag in ("title", "h1", "th", "p", "li", "figcaption"):
        assert EVIL in "".join(found.texts[tag]), tag
    assert [attributes["alt"] for tag, attributes in found.tags if tag == "img"] == [EVIL]
    content, program = found.texts["script"]
    assert json.loads(content) == shown
    assert "<" not in content
    assert program == plain.texts["script"][1]


PASSAGES = (
    EVIL,
    "<img src=x onerror=alert(1)>",
    "שלום עולם، مرحبا",
    "😀🇩🇪",
    "\ud83d \u2028 \u202e",
    "",
)


def test_texts_stay_text_whatever_they_hold():
    dataset, answers = planted.text_example(True)
    inputs = np.array(PASSAGES, object)[np.arange(len(dataset.labels)) % len(PASSAGES)]
    shown = explorer.compute_points(
        dataclasses.replace(dataset, inputs=inputs), answers, num_subclasses=1
    )
    assert shown["example"] == {"texts": inputs[shown["row"]].tolist()}
    found, text = page(shown)
    assert found.count("script") == 2
    assert found.count("img") == 0
    assert "<script>alert" not in text
    content, program = found.texts["script"]
    assert json.loads(content) == shown
    assert "<" not in content
    # The program puts no text in place as HTML.
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", program)


def test_the_program_knows_every_kind_of_example():
    pictures = np.zeros((4, 3, 3))
    kinds = [
        examples.describe(planted.dataset(np.arange(4) % 2, inputs), np.arange(4))
        for inputs in (pictures, pictures[:, 0], np.array(PASSAGES[:4], object))
    ]
    program = page(None)[0].texts["script"][1]
    used = set(re.findall(r"\bdata\.example\.([a-zA-Z]+)", program))
    assert used == {key for kind in kinds for key in kind}


def test_the_page_needs_nothing_beside_itself():
    Path("a.png").write_bytes(b"picture")
    picture = Picture("a.png", "What **it** `is`")
    found, text = page(points(), galleries=[Gallery("a", [picture])])
    assert not re.search(r"https?:|//[a-z]|@import|url\(|\bfetch\(|XMLHttpRequest|import\(", text)
    for _, attributes in found.tags:
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    (image,) = (attributes for tag, attributes in found.tags if tag == "img")
    assert base64.b64decode(image["src"].partition(",")[2]) == b"picture"
    assert image["alt"] == "What it is"
    policy = next(x["content"] for _, x in found.tags if "http-equiv" in x)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_control_has_a_name_and_the_program_finds_its_elements():
    found, text = page(points())
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    program = found.texts["script"][1]
    assert set(re.findall(r'\$\("(\w+)"\)', program)) <= set(ids)
    labelled = re.findall(r'<label>[a-z]+ <select id="(\w+)">', text)
    assert labelled == ["view", "across", "up", "colouring"]
    used = set(re.findall(r"\bdata\.([a-zA-Z]+)", program))
    assert used <= set(points())
    assert set(re.findall(r"state\.view\.([a-zA-Z]+)", program)) == set(points()["views"][0])


def test_numbers_are_short_and_the_page_is_small():
    _, text = page(points())
    for entry in points()["views"]:
        for number in np.ravel(entry["values"]):
            assert float(f"{number:.4g}") == number
    template = importlib.resources.files("lelp_jax.report.explorer").joinpath("page.html")
    assert len(text) - len(template.read_text()) < 400 * len(points()["row"])


def test_a_report_without_points_is_a_page_too():
    found, _ = page(None)
    assert found.texts["script"][0] == "null"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a `b<c>` **d**", "<p>a <code>b&lt;c&gt;</code> <strong>d</strong></p>\n"),
        ("a\\*b <i>c</i> \\&lt;", "<p>a*b &lt;i&gt;c&lt;/i&gt; &amp;lt;</p>\n"),
    ],
)
def test_markdown_of_sections(text: str, expected: str):
    assert explorer.render_markdown(text) == expected


def test_the_first_cell_of_a_row_names_it():
    shown = explorer.render_markdown("| a | b |\n|---|---:|\n| c \\| d | `e` |\n| f | g |")
    rows = re.findall("<tr>(.*?)</tr>", shown, re.DOTALL)
    for row, name in zip(rows[1:], ("c | d", "f"), strict=True):
        assert row.strip().startswith(f'<th scope="row">{name}</th>\n<td ')
        assert row.count("<th") == row.count("</th>") == 1
