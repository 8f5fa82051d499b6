"""Mistakes of the user's: exit code 2, one line that says what to mend, nothing written."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.main import main
from tests.helpers import tiny
from tests.helpers.bad_cases import CONFIG_FILES, DIGITS, OVERRIDES, Case
from tests.helpers.bad_data import DATA
from tests.helpers.bad_images import IMAGES
from tests.helpers.error_lines import only_error


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Returns all that lies below a folder: the content of files, None for folders."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def write(folder: Path, files: dict) -> None:
    for name, content in files.items():
        if isinstance(content, dict):
            np.savez(folder / name, **content)
        else:
            raw = content.encode() if isinstance(content, str) else content
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(raw)


@pytest.fixture(scope="module")
def finished(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path_factory.mktemp("finished") / "run"))


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name) for case in (*OVERRIDES, *CONFIG_FILES, *DATA, *IMAGES)],
)
def test_a_mistake_is_told_in_one_line_and_changes_nothing(
    case: Case, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, case.files)
    for workdir in (tmp_path / "new", finished):
        before = snapshot(tmp_path), snapshot(finished)
        capsys.readouterr()
        code = main(["main", *case.arguments, *case.workdir(workdir)])
        text = only_error(capsys.readouterr().err)
        assert code == 2
        for words in case.words:
            assert words in text
        assert (snapshot(tmp_path), snapshot(finished)) == before


LATE = {
    "lelp_above_rank": (
        ("--config.methods.lelp.num_subclasses=600",),
        ("config.methods.lelp", "num_subclasses 600 exceeds the rank"),
    ),
    "kmeans_above_rows": (
        (
            "--config.methods.lelp.trials=0",
            "--config.methods.soft_kmeans.trials=1",
            "--config.methods.soft_kmeans.num_subclasses=900",
        ),
        ("config.methods.soft_kmeans", "num_subclasses 900 exceeds"),
    ),
}


@pytest.mark.parametrize(("overrides", "words"), LATE.values(), ids=LATE.keys())
def test_what_only_the_teacher_shows_is_told_in_one_line_too(
    overrides: tuple[str, ...],
    words: tuple[str, ...],
    finished: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = {name: content for name, content in snapshot(finished).items() if content is not None}
    capsys.readouterr()
    # A tuple that is given twice takes both values: the new one replaces the run's.
    base = [argument for argument in tiny.OVERRIDES if "num_subclasses" not in argument]
    code = main(["main", DIGITS, *base, *overrides, f"--workdir={finished}"])
    text = only_error(capsys.readouterr().err)
    assert code == 2
    for part in words:
        assert part in text
    after = {name: content for name, content in snapshot(finished).items() if content is not None}
    # The lock file holds the number of the process that launched last.
    del before[".lock"], after[".lock"]
    assert after == before


def test_workdir_below_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert tiny.run(tmp_path / "file/run") == 2
    assert "file/run: Not a directory" in only_error(capsys.readouterr().err)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--config is missing"),
        ((DIGITS, "--config.teacher.modell.hidden=(3,)"), "did you mean 'model'?"),
        ((DIGITS, "--config.data.transfer_size=5000"), "config.data.transfer_size 5000"),
    ],
)
def test_as_a_command(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lelp_jax.main", *arguments, f"--workdir={tmp_path}/new"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (tmp_path / "new").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.replicates"):
        main(["main", "--debug", DIGITS, "--config.replicates=0", f"--workdir={tmp_path}/new"])
