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

PIECES = (b'"', b",", b"\n", b"\r", b"-1", b"nan", b"1e999", b"{", b"]", b"null", b"\xff", b"\0")
PIECES += (b"\xef\xbb\xbf", b"9" * 25, b"label", b"1_0", b"\xc3\xa9", b"\\u0000", b"true", b":")
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


def damaged(content: bytes, choose: random.Random) -> bytes:
    result = bytearray(content)
    for _ in range(choose.randint(1, 3)):
        place = choose.randrange(len(result) + 1)
        match choose.randrange(4):
            case 0:
                result[place:place] = choose.choice(PIECES)
            case 1:
                del result[place : place + choose.randint(1, 20)]
            case 2:
                result[place : place + 1] = bytes([choose.randrange(256)])
            case 3:
                start = choose.randrange(len(result) + 1)
                result[place:place] = result[start : start + 20]
    return bytes(result)


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
        path.write_bytes(damaged(content, choose))
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
