"""Every config of texts runs, one step long and tiny, on sets in the formats that they name."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ml_collections import ConfigDict
from pyarrow import parquet

from lelp_jax import pipeline
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.report import stage as report
from tests.data.test_hub import FakeHub
from tests.helpers import checkpoints, tiny

FILES = [path for name in ("configs", "experiments") for path in (tiny.ROOT / name).glob("*.py")]
GOOD, BAD = checkpoints.WORDS[14:24], checkpoints.WORDS[24:34]
# The same number of rows everywhere, so that programs are compiled once.
KEPT_CASES = ("imdb", "amazon_5class_mlp")
SPLITS = {"train": 60, "validation": 20, "test": 20}


def commands() -> list[str]:
    """Returns the configs of texts, with the arguments in the launch lines of their headers."""
    found = []
    for path in FILES:
        folder, text = path.parent.name, path.read_text()
        if "presets.build_report" not in text and path.stem != "table2_text":
            continue
        if "build_image" in text:
            continue
        found += re.findall(rf"--config=({folder}/{path.stem}\.py(?::\w+)?)", text)
    return sorted(set(found))


def rows(count: int, classes: int, seed: int) -> list[tuple[str, int]]:
    """Returns texts and labels; what a text says is the label's remainder."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        words = random.choice((BAD, GOOD)[number % classes % 2], 3)
        made.append((f"the film was {' '.join(words)}", number % classes))
    return made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds tiny checkpoints, and data sets as TFDS and users have them."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    folder = tmp_path_factory.mktemp("texts")
    checkpoints.write(folder / "teacher", num_hidden_layers=1)
    checkpoints.write(folder / "albert", "albert", num_hidden_layers=1)
    for split, count in SPLITS.items():
        texts, labels = zip(*rows(count, 2, 0), strict=True)
        fine = np.arange(count) % 4
        table = {"text": texts, "label": labels, "fine_label": fine}
        parquet.write_table(pa.table(table), folder / f"{split}.parquet")
    _prepare(tfds, folder, "glue", "sst2", "sentence", "label", hidden=True)
    _prepare(tfds, folder, "glue", "cola", "sentence", "label", hidden=True)
    _prepare(tfds, folder, "imdb_reviews", "plain_text", "text", "label")
    _prepare(tfds, folder, "sentiment140", "", "text", "polarity")
    _prepare(tfds, folder, "trec", "", "text", "label-coarse")
    return folder


def _prepare(
    tfds: Any, folder: Path, name: str, part: str, text: str, label: str, *, hidden: bool = False
) -> None:
    """Writes a data set in TFDS's format; hidden labels of test rows are -1."""
    features = tfds.features
    polarity, fine = label == "polarity", label == "label-coarse"
    kind = np.int32 if polarity else features.ClassLabel(names=list("abcdef" if fine else "ab"))
    spec = {text: features.Text(), label: kind}
    if fine:
        spec["label-fine"] = features.ClassLabel(names=[f"fine {n}" for n in range(12)])
    counts = SPLITS if hidden else {"train": 80, "test": 20}

    def examples(split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, (words, of) in enumerate(rows(counts[split], 6 if fine else 2, 0)):
            value = -1 if hidden and split == "test" else 4 * of if polarity else of
            example = {text: words, label: value}
            yield number, example | ({"label-fine": of + 6 * (number // 6 % 2)} if fine else {})

    # Those that TFDS has today.
    version = "2.0.0" if name == "glue" else "1.0.0"
    content: dict[str, Any] = {
        "VERSION": tfds.core.Version(version),
        "name": name,
        "_info": lambda self: tfds.core.DatasetInfo(
            builder=self, features=features.FeaturesDict(spec)
        ),
        "_split_generators": lambda self, _: {s: self._generate_examples(s) for s in counts},
        "_generate_examples": lambda self, split: examples(split),
    }
    if part:
        content["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=part, version=version)]
    # TFDS has builders of these names.
    with tfds.core.registered.skip_registration():
        builder = type("Own", (tfds.core.GeneratorBasedBuilder,), content)
    builder(data_dir=str(folder), **({"config": part} if part else {})).download_and_prepare(
        file_format="array_record"
    )


def shrink(config: ConfigDict, place: Path) -> ConfigDict:
    """Returns a config with its own data and kinds of networks, one step long and tiny."""
    config = copy.deepcopy(config)
    with config.unlocked():
        _shrink(config, place)
        if "sweep" in config and "values" in config.sweep:
            config.sweep["values"] = config.sweep["values"][:1]
        elif "sweep" in config:
            # The other cases are the configs of the same names.
            kept = [name for name in config.sweep.cases if name in KEPT_CASES]
            config.sweep.cases = {name: config.sweep.cases[name] for name in kept}
            for case in config.sweep.cases.values():
                _shrink(case, place)
    return config


def _shrink(config: ConfigDict, place: Path) -> None:
    config.data.max_length = 12
    if config.data.source == "tfds":
        config.data.data_dir = str(place)
    elif config.data.source == "hub":
        config.data.train_rows = 40
    else:
        config.data.update({split: str(place / f"{split}.parquet") for split in SPLITS})
    config.data.split = (0.6, 0.2, 0.2)
    albert = "albert" in config.teacher.get("checkpoint", "")
    if config.teacher.source == "network":
        config.teacher.inputs.checkpoint = str(place / "teacher")
        config.teacher.model.hidden = (32,)
    else:
        config.teacher.checkpoint = str(place / ("albert" if albert else "teacher"))
    config.teacher.count = config.replicates = 1
    for part in (config.teacher, config.student):
        part.train.update({"steps": 1, "epochs": 0.0, "batch_size": 8})
        part.train.early_stopping.evaluations = min(part.train.early_stopping.evaluations, 1)
    inputs, model = config.student.inputs, config.student.model
    if inputs.name == "words":
        inputs.min_count = 1
    elif inputs.get("checkpoint"):
        inputs.checkpoint = str(place / "teacher")
    if model.name == "pretrained":
        model.checkpoint = str(place / "albert")
    elif model.name == "transformer":
        model.update({"layers": 1, "dims": 16, "hidden": 16})
    else:
        model.hidden = (8,)
    # The paper's large set-ups differ from the others in their networks alone.
    kept = ("kd",) if albert else ("kd", "lelp")
    for name, values in config.methods.items():
        values.trials = int(name in kept)
        # A teacher of one step may never answer one of the classes.
        changed = {"num_subclasses": (2,), "membership": ("label",)}
        if config.teacher.source == "network":
            # Most rows have no label.
            del changed["membership"]
        values.update({setting: changed[setting] for setting in changed if setting in values})


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plays the hub, with reviews of five classes."""
    FakeHub(monkeypatch)
    for split, count in (("train", 60), ("test", 20)):
        texts, labels = zip(*rows(count, 5, 0), strict=True)
        Path("repo/data").mkdir(parents=True, exist_ok=True)
        table = pa.table({"text": texts, "content": texts, "label": labels})
        parquet.write_table(table, f"repo/data/{split}-00000-of-00001.parquet")


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("command", commands())
def test_a_config_trains_teachers_and_students(
    command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _, argument = command.partition(":")
    config = shrink(load_config(tiny.ROOT / file, [argument] if argument else []), place)
    reached = []
    monkeypatch.setattr(pipeline.export, "ensure", lambda *given: {})
    monkeypatch.setattr(report, "ensure", lambda *given: reached.append(given))
    monkeypatch.setattr(pipeline.swept, "write", lambda *given: None)
    pipeline.run("texts", config.to_dict(), tmp_path / "run", Interrupts(), Reporter())
    assert len(reached) == (len(config.sweep.get("cases", [0])) if "sweep" in config else 1)
    for run, compared in reached:
        [teacher], outcomes = compared.teachers, compared.outcomes
        assert teacher.dims == 32
        methods = sum(each.trials for each in run.config.methods.values())
        assert len(outcomes) == methods * run.config.replicates
        assert not any(each.trained.diverged for each in outcomes)
        assert len(run.inputs.values) == len(run.dataset.labels)


def test_every_case_of_the_table_is_a_config() -> None:
    cases = load_config(tiny.ROOT / "experiments/table2_text.py").sweep.cases
    names = {path.stem for path in FILES}
    assert {name.removesuffix("_mlp") for name in cases} <= names
    assert len(cases) == 8
    for name, case in cases.items():
        own = load_config(tiny.ROOT / f"configs/{name.removesuffix('_mlp')}.py")
        assert case.data.name == own.data.name


def test_there_is_a_command_for_every_config() -> None:
    names = {re.split(r"[/.]", command)[1] for command in commands()}
    assert names >= {"sst2", "cola", "imdb", "amazon_polarity", "amazon_5class", "sentiment140"}
    assert names >= {"trec", "files", "table2_text"}
