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


@pytest.mark.slow
def test_placed_kills_leave_the_results_of_an_uninterrupted_run(
    reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    resumed = []
    for point, count in PLACED:
        fault_runs.run_killed(point, count, workdir)
        if point == "checkpoint save":
            resumed += [path.name for path in workdir.glob("*/*/checkpoints/*tmp*")]
    assert len(resumed) == 2, "the kill did not fall inside a checkpoint save"
    final = fault_runs.run("none", 0, workdir)
    assert final.returncode == 0, final.stderr
    fault_runs.assert_same(workdir, reference)


@pytest.mark.slow
def test_a_resumed_fleet_continues_with_steps_still_to_do(reference: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    fault_runs.run_killed("students", 2, workdir)
    final = fault_runs.run("none", 0, workdir)
    assert final.returncode == 0, final.stderr
    assert "students: resumed at step 17 of 50" in final.stderr
    fault_runs.assert_same(workdir, reference)


@pytest.mark.slow
def test_a_bank_resumes_at_the_chunk_where_it_was_killed(reference: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    fault_runs.run_killed("bank chunk", 3, workdir)
    done = sorted(workdir.glob("banks/*/chunks/*.json"))
    assert [path.name for path in done] == ["000000.json", "000001.json", "000002.json"]
    bank = done[0].parents[1]
    chunks = [
        bank / name / f"c/{number}/0" for name in ("logits", "embeddings") for number in "012"
    ]
    written = [path.stat().st_mtime_ns for path in chunks]
    final = fault_runs.run("none", 0, workdir)
    assert final.returncode == 0, final.stderr
    assert [path.stat().st_mtime_ns for path in chunks] == written
    fault_runs.assert_same(workdir, reference)


def damage(checkpoint: Path) -> None:
    """Cuts the largest file of a checkpoint short."""
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:100])


@pytest.mark.slow
@pytest.mark.parametrize("mishap", [damage, shutil.rmtree])
def test_a_lost_latest_checkpoint_costs_steps_but_not_bits(
    mishap, reference: Path, tmp_path: Path
) -> None:
    workdir = tmp_path / "run"
    fault_runs.run_killed("teachers", 3, workdir)
    earlier, latest = sorted(
        path for path in workdir.glob("teachers/*/checkpoints/*") if path.is_dir()
    )
    mishap(latest)
    final = fault_runs.run("none", 0, workdir)
    assert final.returncode == 0, final.stderr
    assert f"teachers: resumed at step {earlier.name} of 50" in final.stderr
    assert ("resuming from the one before it" in final.stderr) == (mishap is damage)
    assert "Traceback" not in final.stderr
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
