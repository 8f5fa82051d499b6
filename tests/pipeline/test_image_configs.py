"""Every config of images runs, one step long and with tiny networks, on pictures made here."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from lelp_jax import pipeline, presets
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.report import stage as report
from tests.helpers import pictures, tiny
from tests.pipeline.test_text_configs import FILES

SIZE = 8
KEPT = ("kd", "lelp")
# Its other cases differ in data and networks, which are made alike here.
KEPT_CASE = "cifar100_resnet_mobilenet"


def commands() -> list[str]:
    """Returns the configs of images, with the arguments in the launch lines of their headers."""
    found = []
    for path in FILES:
        name, text = f"{path.parent.name}/{path.stem}.py", path.read_text()
        if re.search(r"build_image|import \w+_bin\b", text):
            found += re.findall(rf"--config=({re.escape(name)}(?::\w+)?)", text)
    return sorted(set(found))


def shrink(config: ConfigDict, place: Path) -> ConfigDict:
    """Returns a config with its own data and kinds of networks, one step long and tiny."""
    config = copy.deepcopy(config)
    with config.unlocked():
        _shrink(config, place)
        for name, values in config.methods.items():
            values.trials = int(name in KEPT)
            # A teacher of one step may never answer one of the classes.
            for setting, value in (("num_subclasses", 2), ("membership", "label")):
                if setting in values:
                    values[setting] = (value,)
        if "cases" in config.get("sweep", {}):
            config.sweep.cases = {KEPT_CASE: config.sweep.cases[KEPT_CASE]}
            _shrink(config.sweep.cases[KEPT_CASE], place)
        elif "sweep" in config:
            config.sweep["values"] = (40,)
    return config


def _shrink(config: ConfigDict, place: Path) -> None:
    class_map = config.data.class_map
    config.data = presets.build_image_arrays(str(place))
    config.data.class_map = class_map
    config.data.split = (0.6, 0.2, 0.2)
    config.replicates = config.teacher.count = 1
    for part in (config.teacher, config.student):
        part.model = ConfigDict({"name": "small_cnn", "widths": (8,)})
        part.train.update({"steps": 1, "epochs": 0.0, "batch_size": 8})
        part.train.augmentation.crop = min(part.train.augmentation.crop, 2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "pictures.npz"
    return pictures.save_arrays(path, *pictures.draw(100, 4, SIZE))


# The others differ from these in their data alone, which are made alike here.
@pytest.mark.parametrize(
    "command", [name for name in commands() if not name.endswith((":hub", ":files", ":table"))]
)
def test_a_config_trains_teachers_and_students(
    command: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, _, argument = command.partition(":")
    config = shrink(load_config(tiny.ROOT / file, [argument] if argument else []), place)
    reached = []
    monkeypatch.setattr(pipeline.export, "ensure", lambda *given: {})
    monkeypatch.setattr(report, "ensure", lambda *given: reached.append(given))
    monkeypatch.setattr(pipeline.swept, "write", lambda *given: None)
    pipeline.run("images", config.to_dict(), tmp_path / "run", Interrupts(), Reporter())
    [(run, compared)] = reached
    assert run.inputs.values.shape == (100, SIZE, SIZE, 3)
    assert run.inputs.values.dtype == np.uint8
    assert {each.student.trial.method for each in compared.outcomes} == set(KEPT)
    assert not any(each.trained.diverged for each in compared.outcomes)


def test_published_values_stand_in_the_settings_of_the_table() -> None:
    cases = load_config(tiny.ROOT / "experiments/table1_images.py").sweep.cases
    assert len(cases) == 6
    published = {name: case.report.published.methods.to_dict() for name, case in cases.items()}
    assert published["cifar100_resnet_resnet"]["lelp"] == 79.91
    assert set(published["cifar100_resnet_resnet"]) <= set(
        load_config(tiny.ROOT / "configs/cifar100_bin.py").methods
    )
    assert published["cifar10_resnet_resnet"] == {}


def test_there_is_a_command_for_every_config() -> None:
    names = {re.split(r"[/.]", command)[1] for command in commands()}
    assert names == {
        *("cifar10_bin", "cifar100_bin", "fashion_mnist_bin", "image_folder"),
        *("fashion_images", "table1_images"),
    }
