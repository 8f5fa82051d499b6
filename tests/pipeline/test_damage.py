"""Any file of a finished workdir may be damaged: the next launch gives the same results."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import stored, tiny

# One teacher and few students: a launch that builds everything anew takes seconds.
FEW = (
    "--config.teacher.count=1",
    *(f"--config.methods.{name}.trials=1" for name in ("kd", "lelp", "soft_kmeans")),
    *(f"--config.methods.{name}.trials=0" for name in ("labels", "oracle", "random_split")),
)
# What a launch writes anew, or may: times of training differ.
PUBLISHED = ("results.jsonl", "metrics.jsonl", "labels.json")


def swap(path: Path) -> None:
    """Puts the file of a sibling artifact in the place of this one."""
    folder, place = path.parent, Path(path.name)
    while folder.parent.parent.name != "run" and folder.parent != folder:
        folder, place = folder.parent, folder.name / place
    others = sorted(o / place for o in folder.parent.iterdir() if o != folder)
    others = [other for other in others if other.is_file()]
    if others:
        shutil.copyfile(others[0], path)
    else:
        path.write_bytes(path.read_bytes()[::-1])


def block(path: Path) -> None:
    """Makes a file unreadable, for the superuser, too."""
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: stored.cut(path, path.stat().st_size // 2),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped": lambda path: stored.flip(path, path.stat().st_size // 2, bit=0),
    "first byte flipped": lambda path: stored.flip(path, 0, bit=5),
    "last byte flipped": lambda path: stored.flip(path, path.stat().st_size - 1),
    "deleted": Path.unlink,
    "swapped": swap,
    "unreadable": block,
}


def launch(workdir: Path) -> int:
    return tiny.run(workdir, *FEW)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert launch(workdir) == 0
    return workdir


def kind(path: Path) -> str:
    """Names what a file is, without fingerprints: one damage of each kind is enough."""
    parts = list(path.parts)
    if len(parts) > 1 and parts[0] not in ("report", "sweep"):
        parts[1] = "*"
    # Orbax names its data files by a hash.
    return "/".join("*" if len(part) > 25 else part for part in parts)


def list_files(workdir: Path) -> dict[str, Path]:
    """Returns a file of each kind below a workdir, relative to it."""
    found: dict[str, Path] = {}
    for path in sorted(workdir.rglob("*")):
        relative = path.relative_to(workdir)
        if path.is_file() and path.name != ".lock":
            found.setdefault(kind(relative), relative)
    return found


def read(workdir: Path) -> dict[str, Any]:
    """Returns everything that a user reads, less what is a time."""
    lines = tiny.results(workdir)
    for line in lines:
        del line["train_seconds"]
    content: dict[str, Any] = {"results": lines}
    for name in ("metrics.jsonl", "labels.json"):
        content[name] = (workdir / name).read_bytes()
    run = json.loads((workdir / "run.json").read_text())
    content["run"] = {key: run[key] for key in ("config", "plan", "versions")}
    content["predictions"] = (workdir / "report" / "test_predictions.npz").read_bytes()
    content["report"] = sorted(path.name for path in (workdir / "report").iterdir())
    for name in ("methods.png", "embedding.png", "curves.png"):
        content[name] = (workdir / "report" / name).read_bytes()
    for line in lines:
        if line["student"]:
            folder = workdir / line["student"]
            content[line["student"]] = tiny.snapshot(folder)
    return content


def check(finished: Path, folder: Path, relative: Path, damage: str, capfd: Any) -> None:
    workdir = folder / "run"
    shutil.copytree(finished, workdir)
    DAMAGES[damage](workdir / relative)
    code = launch(workdir)
    printed = capfd.readouterr().err
    assert "Traceback" not in printed
    if damage == "unreadable" and code == 2:
        # A folder in the place of a file that is published is not ours to delete.
        last = printed.splitlines()[-1]
        assert relative.parts[0] == "report" or len(relative.parts) == 1
        assert last.startswith("error: ")
        assert str(workdir / relative) in last
        (workdir / relative).rmdir()
        code = launch(workdir)
        printed = capfd.readouterr().err
    assert code == 0, printed
    warned = [line for line in printed.splitlines() if "building it again" in line]
    assert len(warned) <= 1, printed
    found, expected = read(workdir), read(finished)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name
    # And it is mended for good.
    assert launch(workdir) == 0
    assert "building it again" not in capfd.readouterr().err


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


# A file of every stage, and the damage that is the least conspicuous.
QUICK = (
    "teachers/*/parameters/d",
    "teachers/*/curves.jsonl",
    "teachers/*/stage.json",
    "banks/*/embeddings/c/0/0",
    "banks/*/manifest.json",
    "projections/*/projection.npz",
    "students/*/parameters/d",
    "exports/*/parameters.safetensors",
    "exports/*/student.json",
    "surveys/*/points.json",
    "reports/*/results.jsonl",
    "reports/*/methods.png",
    "metrics.jsonl",
    "results.jsonl",
    "run.json",
    "report/report.md",
)


@pytest.mark.slow
def test_a_flipped_bit_in_any_kind_of_file_changes_no_result(
    finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = list_files(finished)
    for wanted in QUICK:
        relative = next(path for name, path in files.items() if name.startswith(wanted))
        check(
            finished,
            tmp_path / wanted.replace("/", "_").replace("*", ""),
            relative,
            "flipped",
            capfd,
        )


@pytest.mark.damage
@pytest.mark.parametrize("damage", DAMAGES)
def test_no_damage_to_any_file_changes_a_result(
    finished: Path, folder: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    files = list_files(finished)
    assert len(files) > 30
    for number, relative in enumerate(files.values()):
        check(finished, folder / str(number), relative, damage, capfd)
        shutil.rmtree(folder / str(number))


@pytest.mark.slow
def test_a_bank_that_is_found_damaged_while_it_is_read_is_computed_again(
    finished: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workdir = tmp_path / "run"
    shutil.copytree(finished, workdir)
    # What was made from the bank is gone, so that its chunks are read by the next launch.
    for stage in ("projections", "students", "surveys", "reports"):
        shutil.rmtree(workdir / stage)
    (chunk, *_) = sorted(workdir.glob("banks/*/embeddings/c/*/0"))
    stored.flip(chunk, chunk.stat().st_size // 2)
    assert launch(workdir) == 0
    printed = capfd.readouterr().err
    assert len([line for line in printed.splitlines() if "building it again" in line]) == 1
    assert str(chunk.parents[1]) in printed
    found, expected = read(workdir), read(finished)
    assert found["results"] == expected["results"]
    assert found["predictions"] == expected["predictions"]
