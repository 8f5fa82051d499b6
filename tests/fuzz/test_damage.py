"""Damaged files are refused in one line, or read as an independent reader reads the same bytes."""

import csv
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.data.sources.arrays import Arrays
from lelp_jax.data.sources.table import Table
from lelp_jax.data.sources.text_files import TextFiles
from lelp_jax.storage.content import hash_bundle
from lelp_jax.storage.open import open_bundle
from tests.fuzz import examples, tables
from tests.helpers.damage import damage

pytestmark = pytest.mark.fuzz
COLUMNS: dict[str, list[Any]] = {
    "id": [f"{row:03}" for row in range(30)],
    "label": [row % 2 for row in range(30)],
    "x": [row % 7 for row in range(30)],
    "y": [row / 2 for row in range(30)],
    "text": [f'the "{row}", é\nor\t{row}' if row % 9 == 0 else f"row {row}" for row in range(30)],
}
NUMBERS = {
    "inputs": np.arange(60.0).reshape(30, 2),
    "labels": np.arange(30) % 2,
    "ids": np.array(COLUMNS["id"]),
}
ANSWERS = {
    "embeddings": np.arange(90, dtype=np.float32).reshape(30, 3),
    "logits": np.arange(60, dtype=np.float32).reshape(30, 2),
    "ids": np.arange(30),
}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_damaged_tables_are_refused_or_read_as_others_do(kind: str) -> None:
    path = Path(f"t.{kind}")

    def example(choose: random.Random) -> bool:
        of_texts = choose.random() < 0.5
        left_out = () if of_texts else ("text",)
        columns = {name: values for name, values in COLUMNS.items() if name not in left_out}
        content = damage(tables.write(columns, kind, choose.choice(["\n", "\r\n"])), choose)
        path.write_bytes(content)
        named = {"label": "label", "id": "id", **({"text": "text"} if of_texts else {})}
        make = TextFiles if of_texts else Table
        try:
            with examples.bounded():
                parts = make(train=path.name, id="id").parts()
        except UserError:
            return False
        try:
            expected = tables.read(content, kind)
        except (ValueError, csv.Error) as error:
            raise AssertionError(f"read, but others refuse it: {error}") from error
        tables.compare(parts.train, parts.class_names, expected, named)
        return True

    examples.check(example)


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_arrays_are_refused_or_read_as_numpy_does(compressed: bool) -> None:
    save = np.savez_compressed if compressed else np.savez
    path = Path("t.npz")

    def example(choose: random.Random) -> bool:
        of_data = choose.random() < 0.5
        stream = io.BytesIO()
        save(stream, **(NUMBERS if of_data else ANSWERS))  # type: ignore[arg-type]
        path.write_bytes(damage(stream.getvalue(), choose))
        try:
            with examples.bounded():
                if of_data:
                    found = Arrays(train=path.name).parts().train
                    arrays = {"inputs": found.inputs, "labels": found.labels}
                else:
                    bundle = open_bundle(path.name, "config.teacher.files")
                    Path("memory.json").unlink(missing_ok=True)
                    hash_bundle(bundle, bundle.names(), Path("memory.json"))
                    arrays = {name: bundle.array(name)[:] for name in bundle.names()}
        except UserError:
            return False
        with zipfile.ZipFile(path.name) as file:
            for name, values in arrays.items():
                expected = np.load(io.BytesIO(file.read(f"{name}.npy")))
                np.testing.assert_array_equal(values, expected, strict=not of_data)
        return True

    examples.check(example)
