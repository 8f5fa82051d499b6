"""Files of data, damaged at random: they are read, or refused by name in one short message."""

import io
import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.arrays import Arrays
from lelp_jax.data.sources.table import Table
from tests.helpers.damage import damage

ROWS = [{"x": i % 7, "y": i / 2, "label": i % 2} for i in range(40)]


def intact(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "npz":
        labels = np.arange(40) % 2
        np.savez_compressed(stream, inputs=np.arange(80.0).reshape(40, 2), labels=labels)
    elif kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(ROWS), stream)
    elif kind == "jsonl":
        stream.write("".join(json.dumps(row) + "\n" for row in ROWS).encode())
    else:
        lines = [list(ROWS[0]), *([str(value) for value in row.values()] for row in ROWS)]
        separator = "," if kind == "csv" else "\t"
        stream.write("".join(separator.join(line) + "\n" for line in lines).encode())
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "npz"])
def test_damaged_files_never_end_in_a_traceback(kind: str) -> None:
    choose = random.Random(0)
    path = Path(f"t.{kind}")
    content = intact(kind)
    source = Arrays(train=path.name) if kind == "npz" else Table(train=path.name)
    split = data.Split((0.6, 0.2, 0.2), 0)
    path.write_bytes(content)
    assert len(data.load(source, split).train) == 24
    refused = 0
    for _ in range(150):
        path.write_bytes(damage(content, choose))
        try:
            dataset = data.load(source, split)
        except UserError as error:
            refused += 1
            text = str(error)
            problem = None if len(text) < 400 and "\n" not in text else text
        else:
            problem = None if np.isfinite(dataset.inputs).all() else "inputs are not finite"
        assert problem is None
    assert refused > 20


def test_a_name_of_an_array_may_hold_a_line_end() -> None:
    np.savez("t.npz", **{"inputs": np.zeros((4, 1)), "la\nbels": np.arange(4)})
    with pytest.raises(UserError, match=r"'labels' is missing; it holds 'inputs', 'la\\nbels'$"):
        Arrays(train="t.npz").parts()
