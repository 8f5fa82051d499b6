"""Mistakes in flags and config files, with the words that the answer must hold."""

from pathlib import Path
from typing import NamedTuple

from tests.helpers.paths import CONFIGS

DIGITS = f"--config={CONFIGS}/digits.py:quick"
TABLE = f"--config={CONFIGS}/table.py:quick"
ARRAYS = f"--config={CONFIGS}/arrays.py:quick"
_FEW = ("--config.data.labelled_rows=100", "--config.teacher.train.batch_size=50")


class Case(NamedTuple):
    name: str
    arguments: tuple[str, ...]
    words: tuple[str, ...]
    files: dict = {}  # noqa: RUF012 - never changed

    def workdir(self, folder: Path) -> tuple[str, ...]:
        given = any(argument.startswith("--workdir") for argument in self.arguments)
        return () if given else (f"--workdir={folder}",)


def override(key: str, value: str, *words: str, name: str = "") -> Case:
    """A wrong value of a key; the answer must hold both, or the words given."""
    wanted = words or (key, value)
    return Case(name or f"{key}={value}", (DIGITS, f"--config.{key}={value}"), wanted)


OVERRIDES = (
    override("seeed", "1", "config: 'seeed'", "did you mean 'seed'?"),
    override("student.trian.steps", "1", "config.student: 'trian'", "did you mean 'train'?"),
    override("studnt.train.steps", "1", "'studnt'", "did you mean 'student'?"),
    override("methods.lepl.beta", "1", "config.methods: 'lepl'", "did you mean 'lelp'?"),
    override("methods.lelp.betta", "1", "config.methods.lelp: 'betta'", "did you mean 'beta'?"),
    override("seed.more", "1", "config.seed is a value, not a section", "'more'"),
    override("methods.lelp.beta", "abc", "config.methods.lelp.beta must be", "'abc'"),
    override("replicates", "2.5", "config.replicates must be a whole number, got '2.5'"),
    override("teacher.learning_rate", "fast", "config.teacher.learning_rate", "'fast'"),
    override("teacher", "3", "config.teacher is a section, got '3'", "count"),
    override("data", "digits", "config.data is a section, got 'digits'", "source"),
    override("replicates", "0", "config.replicates", "got 0"),
    override("seed", "-1"),
    override("seed", "99999999999"),
    override("data.split_seed", "-1"),
    override("teacher.count", "0", "config.teacher", "count", "got 0"),
    override("teacher.learning_rate", "-1", "config.teacher", "learning_rate", "-1"),
    override("teacher.learning_rate", "inf", "config.teacher", "learning_rate", "inf"),
    override("student.train.steps", "0", "config.student.train", "steps and epochs are both 0"),
    override("student.train.batch_size", "0", "config.student.train", "batch_size", "got 0"),
    override("student.model.dropout", "1.0", "config.student.model", "dropout", "1.0"),
    override("student.model.hidden", "-3", "config.student.model", "hidden", "-3"),
    override("student.model.name", "mpl", "config.student.model", "did you mean 'mlp'?"),
    override("student.train.class_weights", "1,2,3", "config.student.train", "3 values", "2 cl"),
    override("student.train.class_weights", "(0.0,1.0)", "class_weights", "(0.0, 1.0)"),
    override("student.train.epochs", "2", "config.student.train", "steps", "epochs 2"),
    override("student.train.accumulate", "3", "batch_size 64", "accumulate 3"),
    override("teacher.train.early_stopping.patience", "2", "patience 2", "without evaluations"),
    override("teacher.train.early_stopping.metric", "acuracy", "did you mean 'accuracy'?"),
    override("student.train.optimizer.schedule", "step", "schedule", "'step'", "cosine"),
    override("student.teacher_outputs", "sometimes", "config.student", "'online'", "'sometimes'"),
    override("student.input_noise", "-1", "config.student", "input_noise", "0 or more", "-1"),
    override("student.input_noise", "nan", "config.student", "input_noise", "0 or more", "nan"),
    override("methods.kd.temperature", "0"),
    override("methods.kd.alpha", "1.3"),
    override("methods.kd.learning_rate", "-1"),
    override("methods.lelp.beta", "(0.5,0.5)", "config.methods.lelp.beta", "(0.5, 0.5)"),
    override("methods.lelp.beta", "()", "config.methods.lelp.beta is empty"),
    Case(
        "more_combinations_than_can_be_drawn_from",
        (
            DIGITS,
            *(
                f"--config.methods.lelp.{name}={tuple(n / 1000 for n in range(1, 301))}"
                for name in ("beta", "temperature", "learning_rate")
            ),
        ),
        ("config.methods.lelp has", "combinations of values, more than 10,000,000", "fewer"),
    ),
    override("methods.lelp.num_subclasses", "2.5"),
    override("methods.lelp.membership", "labels"),
    override("methods.kd.trials", "-1", "config.methods.kd.trials", "-1"),
    override("data.source", "digit", "config.data.source", "did you mean 'digits'?"),
    override("data.split", "(0.5,0.2,0.2)", "config.data.split", "0.9"),
    override("data.split", "0.5", "config.data.split must be 3 values", "(0.5,)"),
    override("data.transfer_size", "5000", "config.data.transfer_size 5000", "1077"),
    override("data.transfer_size", "10", "batch_size 64", "10", "config.data.transfer_size"),
    override("data.labelled_rows", "-1", "config.data.labelled_rows", "0 or more", "-1"),
    override("data.labelled_rows", "1", "config.data.labelled_rows 1 is below", "set 2 or more"),
    override("data.labelled_rows", "1078", "config.data.labelled_rows 1078 exceeds the 1077", "0"),
    override(
        "data.labelled_rows", "100", "config.teacher.train.batch_size 128", "the 100 labelled"
    ),
    Case(
        "labels_that_membership_needs",
        (DIGITS, *_FEW),
        ("config.methods.lelp.membership 'label' needs labels", "977 of 1077", "teacher"),
    ),
    Case(
        "fine_labels_that_the_oracle_needs",
        (DIGITS, *_FEW, "--config.methods.lelp.trials=0", "--config.methods.soft_kmeans.trials=0"),
        ("config.methods.oracle", "config.data.labelled_rows 100 hides", "oracle.trials=0"),
    ),
    override("teacher.train.batch_size", "5000"),
    override("teacher.source", "array", "config.teacher.source", "did you mean 'arrays'?"),
    override("bank.dtype", "float16", "config.bank", "'bfloat16'", "'float16'"),
    override(
        "bank.root",
        "hdfs://x",
        "config.bank: hdfs://x is not a supported address",
        "gs://bucket/folder",
    ),
    override("bank.roots", "x", "config.bank: 'roots'", "did you mean 'root'?"),
    override("report.baseline", "kdd", "config.report.baseline", "did you mean 'kd'?"),
    override("report.selection_metric", "acuracy", "selection_metric", "'accuracy'"),
    override("report.confidence", "1", "config.report", "confidence", "got 1"),
    override("checkpoint.every_seconds", "-1", "config.checkpoint", "every_seconds", "-1"),
    Case(
        "no_method_left",
        (
            DIGITS,
            *(
                f"--config.methods.{name}.trials=0"
                for name in ("labels", "kd", "lelp", "soft_kmeans", "oracle", "random_split")
            ),
        ),
        ("config.methods", "trials above 0"),
    ),
    Case("stray", (DIGITS, "seed=3"), ("'seed=3'", "flags begin with --")),
    Case("unknown_flag", (DIGITS, "--wrokdir=x"), ("wrokdir", "--help")),
    Case(
        "switch",
        (DIGITS, "--noconfig.seed"),
        ("--noconfig.seed works for booleans only", "--config.seed=VALUE"),
    ),
    Case("no_value", (DIGITS, "--config.seed"), ("--config.seed has no value",)),
    Case("empty_workdir", (DIGITS, "--workdir="), ("--workdir is empty",)),
    Case("workdir_is_a_file", (DIGITS, "--workdir=f"), ("--workdir=f is a file",), {"f": "mine"}),
    Case("workdir_with_brackets", (DIGITS, "--workdir=lr=[0.1]"), ("/lr=[0.1] contains one of",)),
    Case("workdir_below_brackets", (DIGITS, "--workdir=[a]/b"), ("/[a]/b contains", "another")),
    Case("workdir_with_backslash", (DIGITS, r"--workdir=a\b"), (r"/a\b contains one of * ? [",)),
    Case("workdir_at_an_address", (DIGITS, "--workdir=a://b"), ("--workdir=a://b is an address",)),
    Case("workdir_like_an_address", (DIGITS, "--workdir=logs:/a"), ("/logs:/a is taken for",)),
    Case("workdir_of_a_bucket", (DIGITS, "--workdir=/gs/a"), ("workdir /gs/a is taken for",)),
)

CONFIG_FILES = (
    Case("no_config", (), ("--config is missing",)),
    Case("config_without_value", ("--config",), ("--config has no value",)),
    Case("two_configs", (DIGITS, TABLE), ("--config is given 2 times",)),
    Case("config_not_there", ("--config=nosuch.py",), ("--config=nosuch.py: no such file",)),
    Case("config_is_a_folder", (f"--config={CONFIGS}",), ("is a folder",)),
    Case("config_argument", (f"{DIGITS}er",), ("digits.py line", "'quicker'", "known: quick")),
    Case("syntax", ("--config=c.py",), ("SyntaxError", "line 2"), {"c.py": "a = 1\ndef (:\n"}),
    Case(
        "raises",
        ("--config=c.py",),
        ("--config=c.py line 2: ValueError: one two",),
        {"c.py": "def get_config():\n    raise ValueError('one\\ntwo')\n"},
    ),
    Case(
        "returns_none",
        ("--config=c.py",),
        ("--config=c.py: get_config must return a ConfigDict, got None",),
        {"c.py": "def get_config():\n    return None\n"},
    ),
    Case("no_get_config", ("--config=c.py",), ("no function get_config",), {"c.py": "a = 1\n"}),
    Case(
        "exits",
        ("--config=c.py",),
        ("--config=c.py line 3: SystemExit: 3",),
        {"c.py": "import sys\ndef get_config():\n    sys.exit(3)\n"},
    ),
    Case(
        "missing_section",
        ("--config=c.py",),
        ("config.seed is missing",),
        {"c.py": "from ml_collections import ConfigDict as get_config\n"},
    ),
    Case(
        "unset_placeholder",
        ("--config=c.py",),
        ("--config=c.py", "required_placeholder"),
        {
            "c.py": "from ml_collections import ConfigDict, config_dict\n"
            "def get_config():\n"
            "    return ConfigDict({'seed': config_dict.required_placeholder(int)})\n"
        },
    ),
    Case(
        "section_is_a_number",
        ("--config=c.py",),
        ("config.data must be a section", "got 3"),
        {
            "c.py": "from ml_collections import ConfigDict\n"
            "def get_config():\n"
            "    keys = 'teacher bank student methods report checkpoint'.split()\n"
            "    sections = {key: ConfigDict() for key in keys}\n"
            "    return ConfigDict({'seed': 0, 'replicates': 1, 'data': 3, **sections})\n"
        },
    ),
)
