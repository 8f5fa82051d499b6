"""The answers of a PyTorch model teach students, row by row in the order of the data."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from lelp_jax import answer, data
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data import Split
from lelp_jax.data.sources.text_files import TextFiles
from lelp_jax.main import main
from lelp_jax.teachers.arrays import ImportedTeachers
from tests.helpers import tiny, torch_models
from tests.helpers.torch_models import NAMES, write_texts

SMALL = (
    "--config.replicates=1",
    "--config.student.model.hidden=(4,)",
    "--config.student.train.epochs=0",
    "--config.student.train.steps=1",
    "--config.student.train.batch_size=8",
    "--config.student.inputs.min_count=1",
    *(f"--config.methods.{name}.trials={int(name == 'kd')}" for name in ("labels", "kd", "lelp")),
    *(f"--config.methods.{name}.trials=0" for name in ("soft_kmeans", "random_split")),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torch_models.write(tmp_path_factory.mktemp("models") / "bert", id2label=NAMES)


@pytest.fixture(autouse=True)
def files() -> None:
    """Writes files of texts into the current folder."""
    for seed, (name, rows) in enumerate({"train": 60, "validation": 20, "test": 20}.items()):
        write_texts(Path(f"{name}.csv"), rows, seed)


def commands() -> list[list[str]]:
    """Returns the arguments of the launch lines for texts in the config's header."""
    text = (tiny.ROOT / "configs/own_teacher.py").read_text()
    found = re.findall(r"^    python -m lelp_jax\.(?:answer|main) (.*)", text, re.MULTILINE)
    return [shlex.split(line) for line in found if "csv" in line]


@pytest.mark.slow
def test_the_documented_commands_run(model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    answering, training = commands()
    answering = [re.sub("^--model=.*", f"--model={model}", each) for each in answering]
    training = [re.sub("^--config=", f"--config={tiny.ROOT}/", each) for each in training]
    assert answer.main(["answer", *answering]) == 0
    assert main(["main", *training, "--workdir=run", *SMALL]) == 0, capfd.readouterr().err
    assert {line["method"] for line in tiny.results(Path("run"))} == {"kd"}


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(
    "split", ["train", "train,validation", "train,test", "train,validation,test"]
)
def test_every_split_gets_its_own_answers(split: str, by_id: bool, model: Path) -> None:
    names = split.split(",")
    # With ids, the files may come in any order.
    order = names[::-1] if by_id else names
    arguments = ["--id=id"] if by_id else []
    paths = ",".join(f"{name}.csv" for name in order)
    line = [f"--model={model}", f"--data={paths}", "--out=teacher.npz", *arguments]
    assert answer.main(["answer", *line]) == 0
    source = TextFiles(**{name: f"{name}.csv" for name in names}, id="id" if by_id else "")
    dataset = data.load(source, Split((0.6, 0.2, 0.2), 0))
    session = Session(Reporter(), Interrupts(), CurveLog(Path("metrics.jsonl")), 60)
    source = ImportedTeachers(("teacher.npz",))
    [teacher] = source.ensure(Path("run"), dataset, [dataset], 0, session)
    for rows in (dataset.train, dataset.validation, dataset.test):
        wanted = torch_models.answer_one_by_one(model, list(dataset.inputs[rows]))[:, ::-1]
        np.testing.assert_allclose(teacher.answers(rows)[0], wanted, atol=1e-5)


def test_files_in_another_order_are_refused(model: Path) -> None:
    line = f"--model={model} --data=train.csv,test.csv,validation.csv --out=teacher.npz"
    assert answer.main(["answer", *line.split()]) == 0
    source = TextFiles(train="train.csv", validation="validation.csv", test="test.csv")
    dataset = data.load(source, Split((0.6, 0.2, 0.2), 0))
    with pytest.raises(UserError, match=r"answers other texts in 40 of 100 rows, such as data row"):
        ImportedTeachers(("teacher.npz",)).check(dataset)


def test_classes_in_another_order_are_refused(model: Path) -> None:
    line = f"--model={model} --data=train.csv,validation.csv,test.csv --out=teacher.npz"
    assert answer.main(["answer", *line.split()]) == 0
    source = TextFiles(
        train="train.csv",
        validation="validation.csv",
        test="test.csv",
        label_names=("good", "bad"),
    )
    dataset = data.load(source, Split((0.6, 0.2, 0.2), 0))
    with pytest.raises(UserError, match="has the classes bad, good, the data good, bad"):
        ImportedTeachers(("teacher.npz",)).check(dataset)


def test_the_modes_of_the_config_differ_in_size_alone() -> None:
    path = tiny.ROOT / "configs/own_teacher.py"
    whole, quick = (load_config(path, [mode]) for mode in ("texts", "texts_quick"))
    assert whole.data == quick.data
    assert whole.teacher == quick.teacher
    assert whole.replicates > quick.replicates
