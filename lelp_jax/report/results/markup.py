"""The Markdown of the report's sections as HTML: paragraphs, lists, tables, `code` and **bold**."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from lelp_jax.report.results.markdown import Section


def section(shown: Section) -> str:
    """Returns a section with its heading; text of any kind comes out as text."""
    head = f"<h2>{html.escape(shown.title)}</h2>\n" if shown.title else ""
    blocks = re.split(r"\n\s*\n", shown.text.strip())
    return f"<section>{head}{''.join(map(_block, blocks))}</section>"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Returns a table whose first row holds the headings and whose first column names the rows."""
    head = "".join(f'<th scope="col">{inline(cell)}</th>' for cell in rows[0])
    body = ""
    for row in rows[1:]:
        first, *others = map(inline, row)
        cells = "".join(f"<td>{cell}</td>" for cell in others)
        body += f'<tr><th scope="row">{first}</th>{cells}</tr>'
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{whole}</div>'


def inline(text: str) -> str:
    """Returns words with their `code` and **bold**; nothing else in them is markup."""
    # Markdown writes "<" of a name as an entity, and has a backslash before its own signs.
    plain = html.escape(html.unescape(re.sub(r"\\([\\|*_`])", r"\1", text)))
    plain = re.sub(r"`([^`]+)`", r"<code>\1</code>", plain)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", plain)


def _block(text: str) -> str:
    lines = text.splitlines()
    if lines[0].startswith("|"):
        # A bar within a cell has a backslash before it. The second line rules off the headings.
        cells = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in [lines[0], *lines[2:]]]
        return table([[cell.strip() for cell in row] for row in cells])
    if lines[0].startswith("- "):
        entries = re.split(r"\n- ", text[2:])
        return "<ul>" + "".join(f"<li>{inline(entry)}</li>" for entry in entries) + "</ul>"
    return f"<p>{inline(text)}</p>"
