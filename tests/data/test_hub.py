"""Data sets of the Hugging Face hub, whose functions are played by a folder."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import huggingface_hub
import pyarrow as pa
import pytest
from huggingface_hub import errors
from pyarrow import parquet

from lelp_jax import data
from lelp_jax.core import sections
from lelp_jax.core.errors import Unavailable, UserError
from lelp_jax.data.sources import hub_files
from lelp_jax.data.sources.hub import Hub

SPLIT = data.Split((0.6, 0.2, 0.2), 0)
NAME = "someone/reviews"


class FakeHub:
    """Lists and copies the files of the folder `repo`; `cache` holds what was copied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.error: Exception | None = None
        self.asked: list[str] = []
        monkeypatch.setattr(huggingface_hub, "get_cached_repo_tree", self.cached)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.download)
        monkeypatch.setattr(
            huggingface_hub, "HfApi", lambda: SimpleNamespace(dataset_info=self.info)
        )

    def files(self) -> list[str]:
        return [str(path.relative_to("repo")) for path in Path("repo").rglob("*.*")]

    def reach(self, what: str) -> None:
        self.asked.append(what)
        if self.error is not None:
            raise self.error

    def cached(self, name: str, **_: Any) -> list:
        if not Path("cache/tree.json").exists():
            raise errors.CachedRepoTreeNotFoundError
        return [
            SimpleNamespace(path=path) for path in json.loads(Path("cache/tree.json").read_text())
        ]

    def info(self, name: str, revision: str, timeout: float) -> Any:
        self.reach("list")
        assert timeout <= 10
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=f) for f in self.files()])

    def download(
        self,
        name: str,
        repo_type: str,
        revision: str,
        allow_patterns: list[str],
        local_files_only: bool = False,
    ) -> str:
        assert repo_type == "dataset"
        if not local_files_only:
            self.reach("download")
            for file in allow_patterns:
                Path("cache", file).parent.mkdir(parents=True, exist_ok=True)
                Path("cache", file).write_bytes(Path("repo", file).read_bytes())
            Path("cache/tree.json").write_text(json.dumps(self.files()))
        elif not all(Path("cache", file).exists() for file in allow_patterns):
            raise errors.LocalEntryNotFoundError("not here")
        return "cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    return FakeHub(monkeypatch)


def write(file: str, start: int, count: int, metadata: dict | None = None, **extra: list) -> None:
    """Writes rows "t START", ... with labels in turn, as the hub's data sets have them."""
    path = Path("repo", file)
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(start, start + count)
    columns: dict[str, Any] = {
        "title": ["title"] * count,
        "text": [f"t {number}" for number in numbers],
        "label": pa.array([number % 2 for number in numbers], pa.int64()),
        **extra,
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    parquet.write_table(table, path, row_group_size=7)


def names(*of_labels: str, column: str = "label") -> dict:
    features = {column: {"names": list(of_labels), "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": features}})}


def parts(**settings: object) -> data.Parts:
    return Hub(**{"name": NAME, **settings}).parts()  # type: ignore[arg-type]


def numbers(rows: data.Rows) -> list[int]:
    found = [int(text.split()[1]) for text in rows.inputs]
    assert rows.labels.tolist() == [number % 2 for number in found]
    return found


LAYOUTS = [
    ("data/train-{:05}-of-00003.parquet", "data/test-00000-of-00001.parquet"),
    ("data/train-{:05}-of-00003-0a1b2c.parquet", "data/test-00000-of-00001-77ff.parquet"),
    ("reviews/train-{:05}-of-00003.parquet", "reviews/test-00000-of-00001.parquet"),
    ("default/train/{:04}.parquet", "default/test/0000.parquet"),
    ("en/reviews-train-{:05}-of-00003.parquet", "en/reviews-test.parquet"),
]


@pytest.mark.parametrize(("train", "test"), LAYOUTS)
def test_files_of_a_split_are_read_in_order(hub: FakeHub, train: str, test: str) -> None:
    for number, (start, count) in enumerate(((0, 20), (20, 10), (30, 15))):
        write(train.format(number), start, count, names("no", "yes"))
    write(test, 100, 8)
    Path("repo/README.md").write_text("read me")
    found = parts(max_length=33)
    assert numbers(found.train) == list(range(45))
    assert found.test is not None
    assert numbers(found.test) == list(range(100, 108))
    assert (found.validation, found.class_names) == (None, ("no", "yes"))
    assert (found.max_length, found.preprocess) == (33, None)
    file = Path(train.format(1)).name
    assert found.train.place(23) == f"{NAME} {file} row 3"
    dataset = data.load(Hub(name=NAME), SPLIT)
    assert [len(rows) for rows in (dataset.train, dataset.validation, dataset.test)] == [36, 9, 8]


def test_what_is_in_the_cache_is_not_asked_for(hub: FakeHub) -> None:
    write("data/train-00000-of-00001.parquet", 0, 6)
    write("data/test-00000-of-00001.parquet", 6, 6)
    write("data/validation-00000-of-00001.parquet", 12, 6)
    parts()
    assert hub.asked == ["list", "download"]
    hub.error = ConnectionError("no network")
    assert numbers(parts().train) == list(range(6))
    assert hub.asked == ["list", "download"]
    # A split that is known, but was never fetched.
    with pytest.raises(Unavailable, match=r"cannot be reached \(no network\)"):
        parts(validation="validation")
    hub.error = None
    found = parts(validation="validation")
    assert found.validation is not None
    assert numbers(found.validation) == list(range(12, 18))


def test_a_sample_of_the_training_rows(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lelp_jax.data.reading.parquet_rows._BATCH", 8)
    for number in range(3):
        write(f"data/train-{number:05}-of-00003.parquet", 50 * number, 50)
    write("data/test-00000-of-00001.parquet", 500, 8)
    small, large = parts(train_rows=20), parts(train_rows=60)
    found = numbers(small.train)
    assert len(set(found)) == 20
    assert found == sorted(found)
    assert {number // 50 for number in found} == {0, 1, 2}
    assert set(found) < set(numbers(large.train))
    assert small.test is not None
    assert len(small.test.inputs) == 8
    for row, number in enumerate(found):
        file = f"train-{number // 50:05}-of-00003.parquet"
        assert small.train.place(row) == f"{NAME} {file} row {number % 50}"
    assert numbers(parts(train_rows=150).train) == list(range(150))
    with pytest.raises(UserError, match=r"train_rows is 151, but someone/reviews has 150 rows"):
        parts(train_rows=151)


def test_subsets_and_fine_labels_and_merged_classes(hub: FakeHub) -> None:
    for folder, start in (("en", 0), ("de", 50)):
        grades = pa.array([number % 4 for number in range(12)], pa.int32())
        for split in ("train", "test"):
            write(f"{folder}/{split}.parquet", start, 12, names(*"abcd", column="g"), g=grades)
    assert numbers(parts(subset="de").train)[0] == 50
    found = parts(subset="en", fine_label="g")
    assert (found.class_names, found.fine_names) == (("0", "1"), tuple("abcd"))
    found = parts(subset="en", label="g", class_map=(0, 1, 0, 1))
    assert (found.class_names, found.fine_names) == (("a/c", "b/d"), tuple("abcd"))
    assert numbers(found.train) == list(range(12))
    with pytest.raises(UserError, match=r"in several folders; .*subset=NAME: de, en"):
        parts()
    with pytest.raises(UserError, match=r"unknown subset of someone/reviews: 'fr'; known: de, en"):
        parts(subset="fr")


@pytest.mark.parametrize(
    ("files", "settings", "message"),
    [
        (
            ["train.jsonl"],
            {},
            "has no Parquet files at revision 'main', but train.jsonl; try "
            "--config.data.revision=refs/convert/parquet",
        ),
        (["x.py"], {"revision": "refs/convert/parquet"}, "but x.py; give its files with config"),
        (
            ["data/train.parquet"],
            {},
            "unknown split of someone/reviews: 'test'; known: train; set "
            'config.data.test="" to split them off',
        ),
        (["data/train.parquet"], {"train": "trian"}, "'trian'; did you mean 'train'?"),
        (
            ["train-00000-of-00002.parquet", "test.parquet"],
            {},
            "the 2 files of a split are to be numbered from 0, each once, but they are train-",
        ),
        (
            ["default/train/0001.parquet", "default/test/0000.parquet"],
            {},
            "the 1 files of a split are to be numbered from 0, each once, but they are def",
        ),
        (
            [f"train-00000-of-00001-{code}.parquet" for code in ("aa", "bb")],
            {"test": ""},
            "they are train-00000-of-00001-aa.parquet, train-00000-of-00001-bb.parquet; name",
        ),
        (
            ["train.parquet"],
            {"test": "", "text": "content"},
            "someone/reviews train.parquet: 'content'",
        ),
        (["train.parquet"], {"test": "", "label": "star"}, "with --config.data.label=NAME"),
        (["train.parquet"], {"test": "", "label": "title"}, "the label 'title' alone"),
    ],
)
def test_mistakes_are_named(hub: FakeHub, files: list, settings: dict, message: str) -> None:
    for file in files:
        write(file, 0, 20)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        data.load(Hub(name=NAME, **settings), SPLIT)
    assert "\n" not in str(caught.value)


def test_hidden_test_labels_and_files_that_do_not_go_together(hub: FakeHub) -> None:
    write("train.parquet", 0, 20)
    write("test.parquet", 0, 20, label=pa.array([-1] * 20))
    with pytest.raises(UserError, match="hides the labels of 'test': no row has one"):
        parts()
    write("test.parquet", 0, 20, text=[b"\xff"] * 20)
    Path("cache/test.parquet").unlink()
    with pytest.raises(UserError, match=r"reviews test\.parquet row 0, column text: byte 0xff"):
        parts()
    Path("cache/test.parquet").write_text("no Parquet")
    with pytest.raises(
        UserError, match=r"test\.parquet cannot be read as Parquet: .*remove cache, start again"
    ):
        parts()
    write("other/train-00000-of-00002.parquet", 0, 20)
    parquet.write_table(pa.table({"text": ["a"]}), "repo/other/train-00001-of-00002.parquet")
    Path("cache/tree.json").unlink()
    with pytest.raises(UserError, match=r"column of someone/reviews train-00001.*: 'label'; known"):
        parts(subset="other", test="")


def response(status: int) -> mock.Mock:
    return mock.Mock(status_code=status, headers={}, request=mock.Mock())


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.RepositoryNotFoundError("x", response=response(401)), "the hub has no data set"),
        (errors.GatedRepoError("x", response=response(403)), "those who agree to its terms"),
        (errors.RevisionNotFoundError("x", response=response(404)), "has no revision 'main'"),
        (errors.HFValidationError("Repo id\nmust be"), "config.data.name: Repo id must be"),
    ],
)
def test_what_the_hub_refuses(hub: FakeHub, error: Exception, message: str) -> None:
    hub.error = error
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        parts()
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, Unavailable)


def test_without_a_network_the_way_out_is_named(hub: FakeHub) -> None:
    hub.error = OSError("Name or service not known")
    with pytest.raises(Unavailable) as caught:
        parts(revision="refs/convert/parquet")
    assert str(caught.value) == (
        "someone/reviews at 'refs/convert/parquet' is not wholly in the cache, and the Hugging "
        "Face hub cannot be reached (Name or service not known); where there is a network, run: "
        "hf download --repo-type dataset someone/reviews --revision refs/convert/parquet, and copy "
        "its cache here (~/.cache/huggingface); or give one file per split with "
        "config.data.source=files (image_table for images)"
    )
    assert hub.asked == ["list"]


def test_a_full_disk_is_told_as_such(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    write("train.parquet", 0, 20)
    files = hub.files()
    monkeypatch.setattr(hub_files, "_listed", lambda *_: files)
    hub.error = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space left"):
        parts(test="")


def test_offline_mode_of_the_library_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    # The real functions: no cache is there, and no request is made.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(Path("empty").resolve()))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="offline mode is enabled"):
        parts()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": ""}, "name is empty; give a data set of the hub"),
        ({"train": ""}, "train is empty; give the split of training rows"),
        ({"revision": ""}, "revision is empty; give a branch, tag or commit, usually 'main'"),
        ({"train": "test"}, "train and test are both 'test'"),
        ({"fine_label": "label"}, "label and fine_label are both 'label'"),
        ({"train_rows": -1}, "train_rows must be a whole number of 0 or more, got -1"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        sections.build(Hub, {"name": NAME, **settings}, "config.data")
