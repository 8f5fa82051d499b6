"""From texts to a report with the real command; kill -9 while a teacher is fine-tuned."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from lelp_jax.deploy import export
from tests.helpers import checkpoints, fault_runs

GOOD, BAD = checkpoints.WORDS[14:24], checkpoints.WORDS[24:34]
ROWS = {"train": 90, "validation": 30, "test": 30}
NAMES = ("awful", "splendid")
LEFT_OUT = ("labels", "soft_kmeans", "random_split")


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Returns the arguments of a small run on files, which are written."""
    folder = tmp_path_factory.mktemp("texts")
    checkpoints.write(folder / "teacher", num_hidden_layers=1)
    random = np.random.default_rng(0)
    for split, count in ROWS.items():
        labels = np.arange(count) % 2
        texts = [
            " ".join(["the film was", *random.choice((BAD, GOOD)[label], random.choice((2, 14)))])
            for label in labels
        ]
        table = {"text": texts, "label": [NAMES[label] for label in labels]}
        parquet.write_table(pa.table(table), folder / f"{split}.parquet")
    return (
        f"--config={fault_runs.ROOT}/configs/sst2.py:files",
        *(f"--config.data.{split}={folder}/{split}.parquet" for split in ROWS),
        "--config.data.max_length=16",
        f"--config.teacher.checkpoint={folder}/teacher",
        "--config.teacher.count=1",
        "--config.teacher.learning_rate=3e-3",
        "--config.teacher.train.epochs=0",
        "--config.teacher.train.steps=24",
        "--config.teacher.train.batch_size=8",
        "--config.teacher.train.early_stopping.evaluations=3",
        "--config.student.inputs.min_count=1",
        "--config.student.model.hidden=(8,)",
        "--config.student.train.epochs=0",
        "--config.student.train.steps=40",
        "--config.student.train.batch_size=16",
        "--config.replicates=2",
        "--config.checkpoint.every_seconds=0",
        *(
            f"--config.methods.{name}.trials=0"
            for name in ("labels", "soft_kmeans", "random_split")
        ),
        *(f"--config.methods.{name}.trials=1" for name in ("kd", "lelp")),
        "--config.methods.lelp.num_subclasses=3",
    )


@pytest.fixture(scope="module")
def finished(command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("finished") / "run"
    result = fault_runs.run("none", 0, workdir, config=command)
    assert result.returncode == 0, result.stderr
    return workdir


@pytest.mark.kills
def test_a_run_killed_in_fine_tuning_ends_with_the_bits_of_one_that_was_not(
    command: tuple[str, ...], finished: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    # In the middle, between two evaluations.
    fault_runs.run_killed("teachers", 4, workdir, command)
    assert not list(workdir.glob("teachers/*/stage.json"))
    final = fault_runs.run("none", 0, workdir, config=command)
    assert final.returncode == 0, final.stderr
    resumed = re.search(r"teachers: resumed at step (\d+) of 24", final.stderr)
    assert resumed, final.stderr
    assert 0 < int(resumed[1]) < 24
    fault_runs.assert_same(workdir, finished)


@pytest.mark.slow
def test_the_report_says_what_was_seen_of_texts(finished: Path) -> None:
    report = (finished / "report" / "report.md").read_text()
    assert re.search(r"\d+ of 150 texts \(\d+\.\d %\) are cut at 16 tokens", report)
    page = (finished / "report" / "report.html").read_text()
    assert "the film was" in page
    assert json.loads((finished / "labels.json").read_text())["classes"] == list(NAMES)


@pytest.mark.slow
def test_an_exported_student_takes_texts(command: tuple[str, ...], finished: Path) -> None:
    [path] = [part.split("=")[1] for part in command if "config.data.test=" in part]
    table = parquet.read_table(path)
    stored = np.load(finished / "report" / "test_predictions.npz")
    lines = [line for line in fault_runs.results(finished) if line["selected"] and line["student"]]
    assert len(lines) == 4
    for line in lines:
        student = export.load(finished / line["student"])
        assert student.class_names == NAMES
        found = student.class_logits(table.column("text").to_pylist())
        [place] = np.flatnonzero(
            (stored["method"] == line["method"]) & (stored["replicate"] == line["replicate"])
        )
        np.testing.assert_allclose(found, stored["class_logits"][place], atol=2e-5)
    assert stored["label"].tolist() == [NAMES.index(n) for n in table.column("label").to_pylist()]
