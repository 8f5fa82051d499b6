"""Help on config keys, and the README's table of hyperparameters."""

import subprocess
import sys
from pathlib import Path

import pytest

from lelp_jax import data, inputs, teachers
from lelp_jax.cli.config_file import load_config
from lelp_jax.core.errors import UserError
from lelp_jax.core.fields import Named, read_fields, split_marks
from lelp_jax.experiment import student_network
from lelp_jax.experiment.config import Config
from lelp_jax.experiment.help import explain
from lelp_jax.experiment.sweep import SweepConfig
from lelp_jax.main import main
from lelp_jax.methods import METHODS
from tests.helpers import hyperparameter_table
from tests.helpers.paths import ROOT

DIGITS = load_config(ROOT / "configs" / "digits.py").to_dict()


def help_of(key: str, **changes: object) -> str:
    return " ".join(explain({**DIGITS, **changes}, key).split())


def test_a_key_has_its_meaning_allowed_values_value_and_default() -> None:
    assert help_of("config.student.train.accumulate") == (
        "--config.student.train.accumulate: Number of parts in which the gradient of a batch is "
        "computed, one after another; more parts need less memory. "
        "(a whole number of 1 or more; here 1; default 1)"
    )
    assert "(a whole number of 1 or more; here 16; required)" in help_of("config.replicates")
    assert "('bank' or 'online'; here 'bank'; default" in help_of("config.student.teacher_outputs")
    # Left out of the config.
    text = help_of("config.report.confidence", report={"baseline": "kd"})
    assert text.endswith("(a number in (0, 1); here 0.95; default 0.95)")


def test_a_section_has_all_of_its_keys() -> None:
    text = help_of("config.student.train.early_stopping")
    for key in ("evaluations", "patience", "metric"):
        assert f"--config.student.train.early_stopping.{key}: " in text
    root = help_of("config")
    for key in (*DIGITS, "sweep"):
        assert f"--config.{key}: " in root


def test_the_keys_of_a_section_follow_from_what_it_names() -> None:
    assert "--config.student.model.hidden: Widths of the hidden" in help_of("config.student.model")
    student = {**DIGITS["student"], "model": {"name": "text_cnn"}}
    text = help_of("config.student.model", student=student)
    assert "filters" in text
    assert "hidden" not in text
    assert "(a tuple, each a whole number of 1 or more, not empty, all different;" in text
    # The keys that every source has, and those of this one.
    text = help_of("config.data")
    for key in ("source", "split", "split_seed", "transfer_size", "classes"):
        assert f"--config.data.{key}: " in text


def test_hyperparameters_of_methods_whether_compared_or_not() -> None:
    text = help_of("config.methods.lelp.beta")
    assert "the softer the split. (a tuple, each a number above 0; here (0.25, 0.5, 1.0);" in text
    assert "rkd" not in DIGITS["methods"]
    assert "Park et al., Relational Knowledge" in help_of("config.methods.rkd")
    assert "False, as method 'lelp' is the one" in help_of("config.methods.lelp_unrotated.rotate")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("student.train", "write --help=config.student.train"),
        ("config.student.trian", "unknown key of config.student: 'trian'; did you mean 'train'"),
        ("config.methods.lepl", "did you mean 'lelp'"),
        ("config.methods.lelp.betta", "did you mean 'beta'"),
        ("config.seed.more", "config.seed is a value, not a section: it has no key 'more'"),
        ("config.", "unknown key of config: ''"),
    ],
)
def test_keys_that_there_are_not(key: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        explain(DIGITS, key)


def test_every_key_says_what_it_means() -> None:
    """Looks through all dataclasses that a config can name."""
    seen = []

    def visit(cls: type, hidden: frozenset[str] = frozenset()) -> None:
        for name, field in read_fields(cls, hidden).items():
            seen.append(name)
            assert field.meaning.endswith("."), f"{cls.__name__}.{name}: {field.meaning!r}"
            base, marks = split_marks(field.kind)
            if isinstance(base, type) and hasattr(base, "__dataclass_fields__"):
                visit(base)
            for mark in marks:
                if isinstance(mark, Named):
                    for other in mark.classes.values():
                        visit(other, mark.hidden)

    visit(Config)
    visit(SweepConfig)
    assert {"seed", "batch_size", "filters", "min_count", "layer_decay", "class_map"} <= set(seen)
    registries = (data.SOURCES, teachers.SOURCES, inputs.VIEWS, student_network.ORIGINS)
    assert len(seen) > sum(map(len, registries))


def test_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    config = f"--config={ROOT}/configs/digits.py"
    assert (
        main(["main", config, "--help=config.data.transfer_size", "--config.data.transfer_size=5"])
        == 0
    )
    text = capsys.readouterr().out
    assert text.startswith("  --config.data.transfer_size: Number of training")
    assert "here 5; default 0" in text
    assert max(map(len, text.splitlines())) <= 100
    assert not Path("runs").exists()
    for argument, message in (
        ("--help=", "--help= has no value; for example"),
        ("--help=config.data.clases", "did you mean 'classes'"),
    ):
        assert main(["main", config, argument]) == 2
        assert message in capsys.readouterr().err
    assert main(["main", "--help=config.data"]) == 2
    assert "--config is missing" in capsys.readouterr().err


def test_help_on_the_flags_imports_nothing_that_is_slow() -> None:
    program = (
        "import sys\n"
        "from lelp_jax.main import main\n"
        "assert main(['main', '--help']) == 0\n"
        "sys.exit(' '.join({'jax', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stderr == b"\n"


def test_the_readme_has_the_table_of_hyperparameters() -> None:
    readme = (ROOT / "README.md").read_text()
    assert hyperparameter_table.write() in readme, "run `make tables`"


def test_the_table_has_every_hyperparameter_with_the_methods_that_take_it() -> None:
    table = hyperparameter_table.write()
    names = {name for method in METHODS.values() for name in method.search_space}
    rows = dict(line.split(" | ", 1) for line in table.splitlines()[2:])
    assert {f"| `{name}`" for name in names} == set(rows)
    assert rows["| `learning_rate`"].endswith("| all |")
    assert rows["| `negatives`"].endswith("| `crd` |")
    assert rows["| `temperature`"].endswith("| all but `labels`, `simkd` |")
