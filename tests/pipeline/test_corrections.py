"""Corrected methods beside plain ones, through the whole pipeline."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import data
from lelp_jax.data.sources.digits import Digits
from lelp_jax.data.split import Split
from lelp_jax.deploy import export
from tests.helpers import tiny
from tests.helpers.error_lines import only_error
from tests.helpers.paths import ROOT

NAMES = ("kd", "kd_slam", "kd_weighted", "lelp_slam", "soft_kmeans_weighted")
CONFIG = f"""
from configs import digits
from lelp_jax import methods

def get_config():
    config = digits.get_config("quick")
    config.methods = methods.default_config(*{NAMES}, trials=1)
    config.teacher.train.steps = 20
    config.student.train.steps = 30
    config.methods.kd_slam.trust_floor = (0.3, 0.9)
    config.methods.kd_slam.trials = 2
    return config
"""


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(ROOT))
    Path("corrected.py").write_text(CONFIG)
    return Path("corrected.py")


def read(workdir: Path) -> list[dict]:
    return [line | {"train_seconds": None} for line in tiny.results(workdir)]


def find_fleets(workdir: Path, method: str) -> list[Path]:
    """Returns the folders of a method's fleets."""
    names = {line["fingerprint"] for line in tiny.results(workdir) if line["method"] == method}
    folders = [path.parent for path in (workdir / "students").glob("*/stage.json")]
    return [each for each in folders if any(n in (each / "stage.json").read_text() for n in names)]


def test_corrected_methods_are_compared_and_resumed(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    assert tiny.launch(config, workdir) == 0
    text = capfd.readouterr()
    # The plain method that tells weights is trained, and has no row.
    assert "soft_kmeans: 2 to train" in text.err
    lines = read(workdir)
    assert list(dict.fromkeys(line["method"] for line in lines)) == list(NAMES)
    selected = {line["method"]: line for line in lines if line["selected"]}
    assert {line["status"] for line in lines} == {"ok"}
    assert selected["kd"]["note"] is None
    for name in ("kd_slam", "lelp_slam"):
        assert "the teacher is trusted to be right with probability" in selected[name]["note"]
        assert selected[name]["note"] in text.out
    for name in ("kd_weighted", "soft_kmeans_weighted"):
        assert "of the rows weigh less than 1" in selected[name]["note"]
    assert len({line["validation"]["nll"] for line in lines}) == len(lines)
    # Exports hold what a readout needs, and nothing of the correction's.
    dataset = data.load(Digits(), Split((0.6, 0.2, 0.2), 0))
    student = export.load(workdir / selected["lelp_slam"]["student"])
    logits = student.class_logits(Digits().parts().train.inputs[dataset.test])
    right = (logits.argmax(axis=1) == dataset.labels[dataset.test]).mean()
    assert right == pytest.approx(selected["lelp_slam"]["test"]["accuracy"])
    assert set(student._arrays["constants"]) == {"column_mask"}

    # A run that stopped between the passes goes on with the first students that it has.
    for name in ("kd_weighted", "soft_kmeans_weighted"):
        for folder in find_fleets(workdir, name):
            shutil.rmtree(folder)
    for name in ("reports", "exports"):
        shutil.rmtree(workdir / name)
    assert tiny.launch(config, workdir) == 0
    text = capfd.readouterr().err
    assert "soft_kmeans: 0 to train, 2 reused" in text
    assert "soft_kmeans_weighted: 2 to train, 0 reused" in text
    assert read(workdir) == lines


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        ("kd_slam", "trust_floor=0", ("config.methods.kd_slam.trust_floor", "(0, 1]", "got 0")),
        ("kd_slam", "trust_floor=1.5", ("config.methods.kd_slam.trust_floor", "(0, 1]", "1.5")),
        ("kd_slam", "normalize_mixing=2", ("config.methods.kd_slam.normalize_mixing",)),
        ("kd_weighted", "trust_floor=1", ("config.methods.kd_weighted", "'trust_floor'")),
    ],
)
def test_bad_hyperparameters_of_corrections_are_told_in_one_line(
    config: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    override: str,
    words: tuple[str, ...],
) -> None:
    assert tiny.launch(config, Path("run"), f"--config.methods.{name}.{override}") == 2
    text = only_error(capsys.readouterr().err)
    assert all(word in text for word in words), text
    assert not Path("run").exists()


def test_help_knows_corrected_methods(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny.launch(config, Path("run"), "--help=config.methods.kd_slam") == 0
    text = capsys.readouterr().out
    assert "trust_floor" in text
    assert np.all([name in text for name in ("normalize_mixing", "temperature")])
