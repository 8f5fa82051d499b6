"""Whole runs on a folder of pictures, with a bank of views and with teachers in every step."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lelp_jax.deploy import export
from tests.helpers import fault_runs, pictures, tiny

PIXELS, LABELS = pictures.draw(200, 2, 8)
IN_EVERY_STEP, FROM_A_BANK = ("labels", "kd", "lelp"), ("kd", "lelp", "crd")
SMALL = (
    "--config.data.size=8",
    "--config.replicates=2",
    "--config.teacher.model.widths=(4,8)",
    "--config.student.model.widths=(2,4)",
    *(f"--config.{who}.train.augmentation.crop=1" for who in ("teacher", "student")),
    *(f"--config.{who}.train.average=0.9" for who in ("teacher", "student")),
    *(f"--config.{who}.train.early_stopping.evaluations=2" for who in ("teacher", "student")),
    "--config.teacher.train.epochs=6",
    "--config.student.train.epochs=6",
)
VIEWS = (
    "--config.student.teacher_outputs=bank",
    "--config.bank.views=2",
    "--config.methods.labels.trials=0",
)
ONLINE = (
    "--config.student.train.augmentation.mixup=0.4",
    "--config.student.input_noise=0.1",
    "--config.methods.crd.trials=0",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures.save_folder(tmp_path_factory.mktemp("data") / "pictures", PIXELS, LABELS)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Writes the config of folders, with the methods that these runs compare."""
    path = tmp_path_factory.mktemp("config") / "pictures.py"
    path.write_text(
        "import runpy\n"
        "from lelp_jax import methods, presets\n"
        "def get_config():\n"
        f"    source = {str(tiny.ROOT / 'configs' / 'image_folder.py')!r}\n"
        "    config = runpy.run_path(source)['get_config']('quick')\n"
        "    config.methods = methods.default_config('labels', 'kd', 'lelp', 'crd', trials=1)\n"
        "    presets.use_image_rates(config.methods)\n"
        "    config.methods.lelp.num_subclasses = (2,)\n"
        "    config.bank.views = 0\n"
        "    config.checkpoint.every_seconds = 0.0\n"
        "    return config\n"
    )
    return path


def check_run(workdir: Path, names: tuple[str, ...]) -> None:
    """Checks what a run of some methods has left."""
    lines = tiny.results(workdir)
    assert {line["method"] for line in lines} == set(names)
    assert len(lines) == 2 * len(names)
    assert {line["status"] for line in lines} == {"ok"}
    assert all(math.isfinite(line["test"]["nll"]) for line in lines)
    # Better than always the same class, as there are two of equal size.
    kd = [line["test"]["accuracy"] for line in lines if line["method"] == "kd"]
    assert np.mean(kd) > 0.6
    report = workdir / "report"
    text = (report / "report.md").read_text()
    figures = [part.split(")")[0] for part in text.split("](")[1:] if ".png)" in part]
    assert figures
    assert all((report / name).stat().st_size > 100 for name in figures)
    # An exported student answers for the pictures as the report says.
    kept = np.load(report / "test_predictions.npz")
    line = next(line for line in lines if line["method"] == "lelp")
    student = export.load(workdir / line["student"])
    own = (kept["method"] == "lelp") & (kept["replicate"] == line["replicate"])
    assert student.class_names == ("bars", "rows")
    wanted = kept["class_logits"][own][0]
    distance = np.abs(student.class_logits(PIXELS)[:, None] - wanted).max(axis=2)
    assert (distance.min(axis=0) < 1e-3).all()


@pytest.mark.slow
def test_runs_on_pictures_with_teachers_that_answer_in_every_step(
    folder: Path, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    flags = (f"--config.data.folder={folder}", *SMALL, *ONLINE)
    assert tiny.launch(config, workdir, *flags) == 0
    check_run(workdir, IN_EVERY_STEP)
    before = tiny.snapshot(workdir)
    capfd.readouterr()
    assert tiny.launch(config, workdir, *flags) == 0
    assert ": 0 to train" in capfd.readouterr().err
    after = tiny.snapshot(workdir)
    assert {name for name in after if after[name] != before.get(name)} <= {"run.json"}


@pytest.mark.kills
def test_a_killed_run_with_views_has_the_results_of_an_uninterrupted_one(
    folder: Path, config: Path, tmp_path: Path
) -> None:
    flags = (f"--config={config}", f"--config.data.folder={folder}", *SMALL, *VIEWS)
    reference, workdir = tmp_path / "reference", tmp_path / "run"
    result = fault_runs.run("none", 0, reference, config=flags)
    assert result.returncode == 0, result.stderr
    check_run(reference, FROM_A_BANK)
    [manifest] = reference.glob("banks/*/manifest.json")
    # 160 training rows with two views each, and 20 validation rows.
    assert json.loads(manifest.read_text())["rows"] == 3 * 160 + 20
    fault_runs.run_killed("students", 2, workdir, config=flags)
    final = fault_runs.run("none", 0, workdir, config=flags)
    assert final.returncode == 0, final.stderr
    fault_runs.assert_same(workdir, reference)
