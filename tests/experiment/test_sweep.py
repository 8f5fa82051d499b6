"""Configs that sweep a value: what they are expanded to, and one launch of them."""

import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.experiment import sweep
from tests.helpers import tiny
from tests.helpers.config_files import changing

RAW = {"seed": 1, "data": {"transfer_size": 100, "split": (0.6, 0.4)}}


def raw(**changes: object) -> dict:
    return RAW | {"sweep": {"key": "data.transfer_size", "values": (10, 20)} | changes}


def test_a_config_without_a_sweep_is_one_experiment(tmp_path) -> None:
    [point] = sweep.expand(RAW)
    assert point.raw == RAW
    assert point.name == ""
    assert point.folder(tmp_path) == tmp_path


def test_each_value_makes_an_experiment_and_changes_nothing_else(tmp_path) -> None:
    points = sweep.expand(raw())
    assert [point.name for point in points] == ["transfer_size=10", "transfer_size=20"]
    assert [point.raw["data"]["transfer_size"] for point in points] == [10, 20]
    for point in points:
        assert point.raw["data"]["split"] == (0.6, 0.4)
        assert set(point.raw) == set(RAW)
    assert points[1].folder(tmp_path) == tmp_path / "sweep" / "transfer_size=20"
    assert RAW["data"]["transfer_size"] == 100  # type: ignore[index]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "data.transfer_sice"}, "'transfer_sice'.*did you mean 'transfer_size'"),
        ({"key": "dota.transfer_size"}, "'dota'"),
        ({"key": "seed.transfer_size"}, "'seed'"),
        ({"values": ()}, "config.sweep: give either values or cases"),
        ({"values": (3, 3)}, "config.sweep.values holds 3 twice"),
        ({"valeus": (3,)}, "'valeus'.*did you mean 'values'"),
    ],
)
def test_mistakes_are_named(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sweep.expand(raw(**changes))


CONFIG = changing(
    "digits",
    'config.sweep = ConfigDict({"key": "data.transfer_size", "values": (64, 100)})',
)


@pytest.mark.slow
def test_a_launch_compares_the_methods_at_every_value(tmp_path, capsys) -> None:
    (tmp_path / "sizes.py").write_text(CONFIG)
    others = [f"--config.methods.{name}.trials=0" for name in ("soft_kmeans", "oracle", "labels")]
    command = [*tiny.OVERRIDES, *others, "--config.methods.random_split.trials=0"]
    workdir = tmp_path / "run"
    assert tiny.launch(tmp_path / "sizes.py", workdir, *command) == 0
    lines = tiny.results(workdir)
    names = ["sizes/transfer_size=64", "sizes/transfer_size=100"]
    assert list(dict.fromkeys(line["experiment"] for line in lines)) == names
    own = [tiny.results(workdir / "sweep" / name.split("/")[1]) for name in names]
    assert own[0] + own[1] == lines
    # Teachers and banks do not depend on what is swept.
    assert len(list((workdir / "teachers").iterdir())) == 1
    assert len(list((workdir / "banks").iterdir())) == 2
    report = (workdir / "report" / "report.md").read_text()
    assert "| 64 |" in report
    assert "| 100 |" in report
    assert (workdir / "report" / "sweep.png").stat().st_size > 1000
    for name in names:
        assert (workdir / "sweep" / name.split("/")[1] / "report" / "report.md").is_file()
    assert names[1] in capsys.readouterr().out
    before = tiny.snapshot(workdir)
    assert tiny.launch(tmp_path / "sizes.py", workdir, *command) == 0
    after = tiny.snapshot(workdir)
    assert {name for name in before if before[name] != after[name]} == set()
