"""A workdir that an earlier version finished is reused as it is.

`data/finished_run.tar.gz` holds the artifacts of the run below, less its reports, as written before
artifacts had checksums.
"""

import json
import tarfile
from pathlib import Path

import pytest

from tests.helpers import tiny
from tests.pipeline.test_damage import FEW

# Compared with a tolerance, or of another form: where the exported student is.
CHANGED = ("validation", "test", "teacher_test", "student")
ARCHIVE = Path(__file__).parent / "data" / "finished_run.tar.gz"


def test_nothing_of_an_earlier_version_is_trained_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    workdir = tmp_path / "run"
    expected = tiny.results(workdir)
    curves = sorted((workdir / "metrics.jsonl").read_text().splitlines())
    stages = ("teachers", "banks", "projections", "students")
    kept = {name: sorted(p.name for p in (workdir / name).iterdir()) for name in stages}
    # Adopted at the first launch, checked at the second.
    for _ in range(2):
        assert tiny.run(workdir, *FEW) == 0
        log = capfd.readouterr().err
        assert "teachers: teacher: 0 to train, 1 reused" in log
        for method in ("kd", "lelp", "soft_kmeans"):
            assert f"students: {method}: 0 to train, 2 reused" in log
        # Apart from cautions about a run as small as this one.
        assert log.count("warning: ") == log.count("warning: digits-quick: ")
        assert kept == {name: sorted(p.name for p in (workdir / name).iterdir()) for name in stages}
        for line, before in zip(tiny.results(workdir), expected, strict=True):
            for part in ("validation", "test", "teacher_test"):
                assert line[part] == pytest.approx(before[part], rel=1e-4, abs=1e-4)
            assert {**before, **{key: line[key] for key in CHANGED}} == line
        assert sorted((workdir / "metrics.jsonl").read_text().splitlines()) == curves
    assert all("files" in json.loads(path.read_text()) for path in workdir.glob("*/*/stage.json"))
