"""Random tables that other programs write are read as they were written, or refused."""

import datetime
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.table import Table
from lelp_jax.data.sources.text_files import TextFiles
from tests.fuzz import examples, tables

pytestmark = pytest.mark.fuzz
LETTERS = list(
    string.printable + "äßé\u00a0\u2028\u0085\u200b漢字😀👩\u200d👩\ufeff\u0301\u0130\u0131\u017f"
)
WORDS = ["null", "NA", "true", "1.10", "007", "1e5", "2024-01-31", '"', "''", "a,b", "#N/A", "x"]
NUMBERS = ["", "0", "-0", "007", "1.10", "1e5", "-1E-3", " 3", ".5", "5.", "+4", "1e-320"]
NUMBERS += ["123456789012345678", "9007199254740993", "0.1", "1.7976931348623157e308"]
LABELS = [["0", "1"], ["spam", "ham"], ["007", "7"], ["é ü", "a,b"], ["1.0", "0.0"], ["true", "no"]]
LABELS += [["NA", "EU"], ["1", "2"], ["-1", "1"], ["x\ny", '"'], ["0", "1", ""], ["a", "b", "-1"]]
LABELS += [["0", "1", "NA"], ["1.10", "1.1"], ["2024-01-01", "2024-01-02"], ["1e3", "1000"]]
STRANGE = [
    "1_000",
    "0x10",
    "nan",
    "inf",
    "1e400",
    "1,5",
    "\u0661\u0662",
    "99999999999999999999",
    "1e",
    "-",
]


def draw_text(choose: random.Random) -> str:
    if choose.random() < 0.2:
        return choose.choice(WORDS)
    return "".join(choose.choice(LETTERS) for _ in range(choose.choice([0, 1, 3, 20])))


def draw_number(choose: random.Random) -> str:
    kind = choose.randrange(4)
    if kind == 0:
        return choose.choice(NUMBERS)
    if kind == 1:
        return repr(choose.uniform(-1, 1) * 10.0 ** choose.randint(-30, 30))
    return str(choose.randint(-(10 ** choose.randint(0, 20)), 10 ** choose.randint(0, 20)))


def draw_date(choose: random.Random) -> str:
    date = datetime.datetime(1970, 1, 1) + datetime.timedelta(choose.randint(-50_000, 50_000))
    if choose.random() < 0.5:
        return str(date.date())
    date += datetime.timedelta(seconds=choose.randint(0, 86_399))
    return date.isoformat(choose.choice(" T"))


def draw_category(choose: random.Random) -> str:
    return choose.choice(["red", " blue", "", "NA", "true", "é", "007", 'a"b', "a,b"])


def draw_boolean(choose: random.Random) -> str:
    return choose.choice(["true", "false", "True", "False", ""][: choose.choice([2, 4, 5])])


DRAWN: tuple[Callable[[random.Random], str], ...] = (
    draw_number,
    draw_date,
    draw_category,
    draw_boolean,
)


def draw_column(choose: random.Random, rows: int) -> list[Any]:
    draw = choose.choice(DRAWN)
    values: list[Any] = [draw(choose) for _ in range(rows)]
    if choose.random() < 0.1:
        values[choose.randrange(rows)] = choose.choice(STRANGE)
    return values


def draw_labels(choose: random.Random, rows: int) -> list[str]:
    classes = choose.choice(LABELS)
    return [classes[row] if row < len(classes) else choose.choice(classes) for row in range(rows)]


def typed(values: list[Any], choose: random.Random) -> list[Any]:
    """Replaces texts by numbers, booleans, dates and None where a format has those."""
    for convert in (
        int,
        float,
        datetime.datetime.fromisoformat,
        {"true": True, "false": False}.get,
    ):
        try:
            found = [None if value == "" else convert(value) for value in values]
        except (ValueError, OverflowError):
            continue
        missing = [value == "" for value in values]
        whole = all(abs(value) < 2**63 for value in found if isinstance(value, int))
        if [value is None for value in found] == missing and not all(missing) and whole:
            return found if choose.random() < 0.7 else values
    return values


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_tables_are_read_as_written_or_refused(kind: str) -> None:
    path = Path(f"t.{kind}")

    def example(choose: random.Random) -> bool:
        rows = choose.choice([3, 20, 60])
        ids = choose.sample([f"{n:0{choose.choice([1, 5])}}" for n in range(rows * 3)], rows)
        columns: dict[str, list[Any]] = {"id": ids, "label": draw_labels(choose, rows)}
        of_texts = choose.random() < 0.4
        if of_texts:
            columns["text"] = [draw_text(choose) for _ in range(rows)]
        else:
            for name in "uvwxyz"[: choose.randint(1, 6)]:
                columns[name] = draw_column(choose, rows)
        if kind in ("jsonl", "parquet"):
            columns = {
                name: values if name == "text" else typed(values, choose)
                for name, values in columns.items()
            }
        if kind == "jsonl":
            columns = {
                name: [str(v) if isinstance(v, datetime.date) else v for v in values]
                for name, values in columns.items()
            }
        path.write_bytes(tables.write(columns, kind, choose.choice(["\n", "\r\n"])))
        named = {"label": "label", "id": "id", **({"text": "text"} if of_texts else {})}
        source = (
            TextFiles(train=path.name, id="id") if of_texts else Table(train=path.name, id="id")
        )
        try:
            with examples.bounded():
                parts = source.parts()
        except UserError:
            return False
        tables.compare(parts.train, parts.class_names, columns, named)
        return True

    examples.check(example)
