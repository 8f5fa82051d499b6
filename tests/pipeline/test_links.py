"""What the documents point to is there: links, headings, files, folders and make targets."""

import itertools
import re
from collections.abc import Iterator

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.helpers.paths import ROOT

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/own_teacher.md")
# Files that a reader writes; a document names them as such.
PLACEHOLDER = "NAME"


def tokens(document: str) -> Iterator[Token]:
    """Yields the tokens of a document, those inside of paragraphs and table cells included."""
    for token in MarkdownIt("commonmark").enable("table").parse((ROOT / document).read_text()):
        yield token
        yield from token.children or ()


def anchors(document: str) -> set[str]:
    """Returns the names that GitHub gives to headings."""
    parsed = list(tokens(document))
    pairs = itertools.pairwise(parsed)
    titles = [text.content for token, text in pairs if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files_and_headings(document: str) -> None:
    targets = [str(token.attrs["href"]) for token in tokens(document) if token.type == "link_open"]
    for target in targets:
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        place = (ROOT / document).parent / path if path else ROOT / document
        assert place.exists(), target
        assert not anchor or anchor in anchors(str(place.relative_to(ROOT))), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_named_in_the_text_are_there(document: str) -> None:
    for token in tokens(document):
        # With a folder: names alone may be those of a run's files. An argument may follow.
        named = re.fullmatch(r"((?:[\w-]+/)+[\w-]*(?:\.\w+)?)(?::\w+)?", token.content)
        if token.type != "code_inline" or not named or PLACEHOLDER in token.content:
            continue
        first = named[1].partition("/")[0]
        # Those of a run are not in the checkout.
        if (ROOT / first).exists() or named[1].endswith(".py"):
            found = (ROOT / named[1]).exists() or (ROOT / "lelp_jax" / named[1]).exists()
            assert found, token.content


def test_the_layout_is_that_of_the_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    block = text.partition("\n    lelp_jax/\n")[2].partition("\n    configs/")[0]
    listed: list[str] = []
    path: list[str] = []
    for indent, name in re.findall(r"^ {6}((?: {2})*)(\w+)/", block, re.MULTILINE):
        path = [*path[: len(indent) // 2], name]
        listed.append("/".join(path))
    package = ROOT / "lelp_jax"
    folders = [path.parent.relative_to(package).as_posix() for path in package.rglob("*/*.py")]
    assert sorted(listed) == sorted(set(folders) - {"."})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_make_targets_are_in_the_makefile(document: str) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^    |`)make ([a-z-]+)", (ROOT / document).read_text(), re.MULTILINE)
    assert set(named) <= known
