"""The worked examples of CONTRIBUTING.md train, and do what their text says."""

import importlib
import re
import subprocess
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax import data, methods, models, projection
from lelp_jax.deploy import export
from lelp_jax.main import main
from lelp_jax.methods.base import LossInputs
from lelp_jax.projection.engine.rows import EmbeddedRows
from tests.helpers import tiny
from tests.helpers.config_files import changing

CONFIG = changing(
    "digits",
    """
    config.replicates = config.teacher.count = 1
    config.data.source = "rings"
    config.data.rows = 400
    for section in (config.teacher, config.student):
        section.model = {"name": "residual", "width": 16, "blocks": 1}
        section.train.steps, section.train.batch_size = 20, 32
    config.methods = methods.default_config("kd", "logit_mse", "shells", trials=1)
    """,
)


def examples() -> dict[str, str]:
    """Returns the source of each example, by the path that its first line names."""
    text = (tiny.ROOT / "CONTRIBUTING.md").read_text()
    return dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", text, re.DOTALL))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    """Adds the examples to the package for one test, as the text says; returns them by path."""
    modules = {}
    for path, source in examples().items():
        name = path.removesuffix(".py").replace("/", ".")
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        package, _, own_name = name.rpartition(".")
        monkeypatch.setattr(importlib.import_module(package), own_name, module, raising=False)
        exec(compile(source, path, "exec"), module.__dict__)
        modules[path.removeprefix("lelp_jax/")] = module
    for registry, name, entry in (
        (methods.METHODS, "logit_mse", modules["methods/logit_mse.py"].METHOD),
        (methods.METHODS, "shells", modules["methods/shells.py"].METHOD),
        (projection.PROJECTORS, "shells", modules["projection/shells.py"].PROJECTOR),
        (data.SOURCES, "rings", modules["data/sources/rings.py"].Rings),
        (models.MODELS, "residual", modules["models/residual.py"].Residual),
    ):
        assert name not in registry
        monkeypatch.setitem(registry, name, entry)
    return modules


@pytest.mark.slow
@pytest.mark.usefixtures("installed")
def test_examples_train_from_data_to_report(tmp_path) -> None:
    (tmp_path / "rings.py").write_text(CONFIG)
    assert main(["main", f"--config={tmp_path}/rings.py", f"--workdir={tmp_path}/run"]) == 0
    lines = tiny.results(tmp_path / "run")
    assert {line["method"] for line in lines} == {"kd", "logit_mse", "shells"}
    assert {line["status"] for line in lines} == {"ok"}
    assert {line["num_outputs"] for line in lines if line["method"] == "shells"} == {6}
    raw = np.random.default_rng(0).standard_normal((5, 2))
    for line in lines:
        if line["student"]:
            student = export.load(tmp_path / "run" / line["student"])
            assert np.isfinite(student.class_logits(raw)).all()


def test_logit_mse_is_zero_at_the_teacher_up_to_a_constant(installed) -> None:
    loss = installed["methods/logit_mse.py"].loss
    z = jnp.array([[3.0, -1.0], [0.5, 2.0]])
    label = jnp.array([0, -1])

    def total(logits):
        values = dict.fromkeys(("alpha", "label_smoothing", "warmup"), jnp.float32(0))
        return loss(LossInputs(logits, label, z), {}, values).per_example.sum()

    np.testing.assert_allclose(total(z + 7), 0, atol=1e-6)
    np.testing.assert_allclose(jax.grad(total)(z + 7), 0, atol=1e-6)
    # Centred, a difference of (2, 0) is (1, -1).
    np.testing.assert_allclose(total(z + jnp.array([2.0, 0.0])), 2, rtol=1e-6)


def test_shells_hold_equally_many_rows_from_the_inside_out(installed) -> None:
    projector = installed["projection/shells.py"].PROJECTOR
    random = np.random.default_rng(0)
    label = np.repeat([0, 1], 60)
    embedding = random.standard_normal((120, 4)) + 5 * label[:, None]
    rows = EmbeddedRows(embedding, np.arange(120), label)
    fitted = projector.fit(rows, np.zeros((4, 2)), {"num_subclasses": 3}, seed=0)
    scores = fitted.scores(rows)
    assert scores.shape == (120, 2, 3)
    assert (np.isfinite(scores).sum(axis=2) == 1).all()
    for index in (0, 1):
        own = embedding[label == index]
        radius = np.linalg.norm(own - own.mean(axis=0), axis=1)
        shell = scores[label == index, index].argmax(axis=1)
        assert np.bincount(shell).tolist() == [20, 20, 20]
        assert radius[shell == 0].max() < radius[shell == 1].min()
        assert radius[shell == 1].max() < radius[shell == 2].min()


def test_examples_follow_the_style_they_ask_for(tmp_path) -> None:
    assert len(examples()) == 5
    for path, source in examples().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(source)
    ruff = [sys.executable, "-m", "ruff"]
    config = [f"--config={tiny.ROOT}/pyproject.toml", "--no-cache"]
    # Which imports are the project's own ruff tells by the folder, and this is another one.
    config += ["--config", f"src = ['{tiny.ROOT}']"]
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [*ruff, *command, *config, str(tmp_path)], capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout + result.stderr
