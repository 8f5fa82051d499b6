"""kill -9 at any moment, then the same command: the results are those of an uninterrupted run."""

import random
import shutil
from pathlib import Path

import pytest

from tests.helpers import fault_runs

# In the order of a run, so that one workdir survives all of them: each launch resumes what the one
# before it left and dies further on.
PLACED = [
    ("teachers", 1),
    ("checkpoint save", 1),
    ("teachers", 1),
    ("bank", 2),
    ("projection", 2),
    ("students", 2),
    ("checkpoint save", 1),
    ("curve log", 1),
    ("fleet finish", 1),
    ("after fleet finish", 1),
    ("evaluation", 2),
    ("results written", 1),
    ("report published", 1),
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("reference") / "run"
    result = fault_runs.run("none", 0, workdir)
    assert result.returncode == 0, result.stderr
    return workdir


def damage(checkpoint: Path) -> None:
    """Cuts the largest file of a checkpoint short."""
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])


@pytest.mark.slow
def test_kills_at_every_point_leave_the_results_of_an_uninterrupted_run(
    reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"

    def kill(point: str, count: int) -> str:
        return fault_runs.run_killed(point, count, workdir)

    def checkpoints(stage: str) -> list[Path]:
        return sorted(path for path in workdir.glob(f"{stage}/*/checkpoints/*") if path.is_dir())

    # A damaged checkpoint costs steps, but no bits: the one before it serves.
    kill("teachers", 3)
    [_, latest] = checkpoints("teachers")
    damage(latest)
    log = kill("checkpoint save", 1)
    assert "teachers: resumed at step 17 of 50" in log
    assert "resuming from the one before it" in log
    assert "Traceback" not in log
    assert any("tmp" in path.name for path in checkpoints("teachers")), "killed outside of a save"
    # And so does a lost one.
    kill("teachers", 2)
    shutil.rmtree(checkpoints("teachers")[-1])
    log = kill("bank chunk", 3)
    assert "teachers: resumed at step 17 of 50" in log
    assert "resuming from the one before it" not in log
    # A bank resumes at the chunk where it was killed.
    done = sorted(workdir.glob("banks/*/chunks/*.json"))
    assert [path.name for path in done] == ["000000.json", "000001.json", "000002.json"]
    arrays = [done[0].parents[1] / name for name in ("logits", "embeddings")]
    chunks = [array / f"c/{number}/0" for array in arrays for number in "012"]
    written = [path.stat().st_mtime_ns for path in chunks]
    kill("bank", 2)
    assert [path.stat().st_mtime_ns for path in chunks] == written
    kill("projection", 2)
    # A resumed fleet goes on with the steps that are still to do.
    kill("students", 2)
    assert "students: resumed at step 17 of 50" in kill("checkpoint save", 1)
    assert any("tmp" in path.name for path in checkpoints("students")), "killed outside of a save"
    for point, count in PLACED[PLACED.index(("curve log", 1)) :]:
        kill(point, count)
    final = fault_runs.run("none", 0, workdir)
    assert final.returncode == 0, final.stderr
    fault_runs.assert_same(workdir, reference)


@pytest.mark.kills
def test_twenty_kills_then_completion(reference: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    choose = random.Random(0)
    killed = 0
    points = [*PLACED, *choose.choices(PLACED, k=40)]
    for point, count in points:
        if killed == 20:
            break
        result = fault_runs.run(point, count, workdir)
        killed += result.returncode != 0
        if result.returncode == 0:
            # Everything was finished before the point was reached: start over, keeping the count.
            workdir = tmp_path / f"run{killed}"
    assert killed == 20
    final = fault_runs.run("none", 0, workdir)
    assert final.returncode == 0, final.stderr
    fault_runs.assert_same(workdir, reference)
