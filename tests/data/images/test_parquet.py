"""Images in Parquet files, your own and those of the hub."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from lelp_jax import data
from lelp_jax.core.errors import UserError
from lelp_jax.data.sources import hub_files
from lelp_jax.data.sources.images import collection
from lelp_jax.data.sources.images.hub import ImageHub
from lelp_jax.data.sources.images.table import ImageTable
from tests.helpers import pictures

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
IMAGES, LABELS = pictures.draw(40, 4, 8)


def encode(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


ENCODED = [encode(image) for image in IMAGES]
FEATURES = {"label": {"names": list(pictures.CLASSES), "_type": "ClassLabel"}}


def write(path: Path, part: slice = slice(None), **columns: list) -> Path:
    """Writes rows as the library `datasets` does; columns may be replaced."""
    cells = [{"bytes": content, "path": f"{row}.png"} for row, content in enumerate(ENCODED)]
    given = {"img": cells[part], "label": LABELS[part], **columns}
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({key: value for key, value in given.items() if value is not None})
    parquet.write_table(table.replace_schema_metadata(metadata), path, row_group_size=7)
    return path


def load(train: Path | str, **settings: object) -> data.Dataset:
    return data.load(ImageTable(train=str(train), **settings), SPLIT)  # type: ignore[arg-type]


def check_rows(found: data.Dataset) -> None:
    numbers = (found.inputs[:, None] == IMAGES).all((2, 3, 4)).argmax(axis=1)
    assert sorted(numbers.tolist()) == list(range(40))
    np.testing.assert_array_equal(found.labels, LABELS[numbers])


def test_structs_and_plain_bytes(tmp_path: Path) -> None:
    found = load(write(tmp_path / "a.parquet"))
    assert found.class_names == pictures.CLASSES
    check_rows(found)
    found = load(write(tmp_path / "b.parquet", img=ENCODED), class_map=("parity",))
    assert (found.class_names, found.fine_names) == (("even", "odd"), pictures.CLASSES)
    np.testing.assert_array_equal(found.fine_labels, LABELS)
    np.testing.assert_array_equal(found.inputs, IMAGES)


def test_splits_in_several_files(tmp_path: Path) -> None:
    write(tmp_path / "train-00000.parquet", slice(0, 13))
    write(tmp_path / "train-00001.parquet", slice(13, 30))
    write(tmp_path / "empty.parquet", slice(0, 0), img=pa.array([], pa.binary()))
    test = write(tmp_path / "test.parquet", slice(30, 40))
    found = load(tmp_path / "train-*.parquet", test=str(test))
    check_rows(found)
    np.testing.assert_array_equal(found.inputs[found.test], IMAGES[30:])
    assert found.class_names == pictures.CLASSES


def test_ids_fine_labels_and_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", fine=LABELS, label=LABELS // 2, n=list(range(40)))
    found = load(path, fine_label="fine", id="n", label_names=("x", "y"))
    assert (found.class_names, found.fine_names) == (("x", "y"), ("0", "1", "2", "3"))
    assert found.ids is not None
    assert found.ids.tolist() == [str(row) for row in range(40)]


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"img": None}, {}, "has no column of encoded images; name one with --config.data.image="),
        ({"other": ENCODED}, {}, "has several columns of images; name one with --config.data.im"),
        ({}, {"image": "label"}, "image and label are both 'label'; name two columns"),
        ({"x": list(range(40))}, {"image": "x"}, "column x: it holds int64, not encoded images"),
        ({}, {"image": "imgs"}, "unknown column of "),
        ({}, {"label": "lable"}, "did you mean 'label'? known: img, label; name the right one wi"),
        (
            {"img": [{"bytes": None, "path": "a.png"}] + [{"bytes": b"", "path": ""}] * 39},
            {},
            "a.parquet row 0, column img: there is no image, but only the path 'a.png'; store the",
        ),
        ({"img": [*ENCODED[:39], b"GIF8"]}, {}, "a.parquet row 39 begins with b'GIF8' and is no"),
        ({"img": [*ENCODED[:39], None]}, {}, "a.parquet row 39, column img: there is no image; s"),
        ({"img": [encode(IMAGES[0, :4]), *ENCODED[1:]]}, {}, "a.parquet row 1 has 8x8 pixels (h"),
        ({}, {"test": "b*.parquet"}, "b*.parquet: no file has such a name; check config.data.test"),
        ({}, {"test": "b.parquet"}, "b.parquet: no such file; check config.data.test"),
    ],
)
def test_mistakes_are_named(
    tmp_path: Path, columns: dict, settings: dict, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        load(write(tmp_path / "a.parquet", **columns), **settings)
    assert "\n" not in str(caught.value)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=r"a\.parquet cannot be read as Parquet: .*; replace it"):
        load(path)
    path.write_bytes(content[:4] + bytes(400) + content[404:])
    with pytest.raises(UserError, match=r"a\.parquet"):
        load(path)


def test_a_data_set_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    files = {
        "train": [
            write(tmp_path / "train-00000-of-00002.parquet", slice(0, 13)),
            write(tmp_path / "train-00001-of-00002.parquet", slice(13, 30)),
        ],
        "test": [write(tmp_path / "test-00000-of-00001.parquet", slice(30, 40))],
    }

    def find(*arguments: object) -> dict[str, list[Path]]:
        asked.append(arguments)
        return files

    monkeypatch.setattr(hub_files, "find", find)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(collection, "_SECONDS", -1.0)
    source = ImageHub(name="someone/shapes")
    found = data.load(source, SPLIT)
    assert asked == [("someone/shapes", "main", "", {"train": "train", "test": "test"})]
    check_rows(found)
    assert len(found.test) == 10
    assert source.parts().train.place(20) == "someone/shapes train-00001-of-00002.parquet row 7"
    # Of a sample, only the sample is kept under its name.
    for _ in range(2):
        few = ImageHub(name="someone/shapes", train_rows=20, class_map=("parity",))
        part = few.parts().train
        numbers = (part.inputs[:, None] == IMAGES).all((2, 3, 4)).argmax(axis=1)
        np.testing.assert_array_equal(part.fine_labels, LABELS[numbers])
        assert len(set(numbers.tolist())) == 20
    assert data.load(source, SPLIT).digest == found.digest
    files["test"] = [write(tmp_path / "hidden.parquet", slice(30, 40), label=[-1] * 10)]
    with pytest.raises(UserError, match="hides the labels of 'test': no row has one; name"):
        source.parts()
