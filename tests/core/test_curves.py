"""The log of training losses after a kill."""

from pathlib import Path

from lelp_jax.core.curves import CurveLog


def test_the_curve_log_is_cut_back_to_the_restored_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = CurveLog(path)
    log.write([{"fleet": "a", "step": 10}, {"fleet": "b", "step": 10}, {"fleet": "a", "step": 20}])
    with open(path, "a") as file:
        file.write('{"fleet": "a", "st')
    again = CurveLog(path)
    again.cut("a", 10)
    assert again.read() == [{"fleet": "a", "step": 10}, {"fleet": "b", "step": 10}]
    again.write([{"fleet": "a", "step": 20}])
    assert len(again.read()) == 3
