import re
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from lelp_jax.cli import command_line, config_file, overrides
from lelp_jax.core.errors import UserError, format_error, make_unknown_name_error
from lelp_jax.deploy.targets import flags as project_flags
from lelp_jax.experiment.help import holds_texts
from lelp_jax.main import main
from tests.helpers.paths import CONFIGS

DIGITS = f"--config={CONFIGS}/digits.py:quick"
CONFIG = ConfigDict(
    {
        "count": 1,
        "rate": 0.1,
        "name": "x",
        "on": True,
        "columns": (),
        "sizes": (1, 2),
        "part": {"deep": {"count": 2}},
    }
)


def parse(*arguments: str) -> command_line.Arguments:
    result = command_line.parse(["main", *arguments], "Usage.", holds_texts)
    assert result is not None
    return result


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_shows_every_flag_and_ends_well(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["main", flag]) == 0
    text = capsys.readouterr().out
    for wanted in ("--config=configs/digits.py", "--config:", "--workdir:", "--[no]debug", "KEY="):
        assert wanted in text
    assert "absl" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_name_and_default_workdir_follow_from_the_config() -> None:
    arguments = parse(DIGITS)
    assert (arguments.name, arguments.workdir) == ("digits-quick", Path("runs/digits-quick"))
    assert parse(DIGITS, "--workdir=a/b").workdir == Path("a/b")


def test_a_workdir_may_be_below_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(DIGITS, "--workdir=~/a").workdir == tmp_path / "a"
    assert parse(DIGITS, "--workdir=./~a").workdir == Path("~a")
    with pytest.raises(UserError, match="--workdir=~nobody-here/a begins with ~, but there is no"):
        parse(DIGITS, "--workdir=~nobody-here/a")


@pytest.mark.parametrize(
    "arguments",
    [
        (DIGITS, "--config.seed=3", "--workdir=w"),
        (DIGITS, "--config.seed", "3", "--workdir", "w"),
        ("--workdir=w", "--config.seed=3", "--config", DIGITS.removeprefix("--config=")),
        (DIGITS.removeprefix("-"), "-config.seed=3", "-workdir=w"),
        (DIGITS, "--config.seed=2", "--config.seed=3", "--workdir=w"),
    ],
)
def test_every_way_to_write_a_flag(arguments: tuple[str, ...]) -> None:
    result = parse(*arguments)
    assert (result.config["seed"], result.workdir) == (3, Path("w"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--confg=c.py",), "unknown flag --confg; did you mean --config? --help shows the flags"),
        (("-cofig", "c.py"), "unknown flag --cofig; did you mean --config?"),
        ((DIGITS, "--cofig.seed=1"), "unknown flag --cofig.seed; did you mean --config.seed?"),
        ((DIGITS, "--noconfg.on"), "unknown flag --noconfg.on; did you mean --config.on?"),
        ((DIGITS, "--Config.seed=1"), "unknown flag --Config.seed; did you mean --config.seed?"),
        ((DIGITS, "--wrokdir=w"), "unknown flag --wrokdir; did you mean --workdir?"),
        ((DIGITS, "--workdir.x=w"), "unknown flag --workdir.x; did you mean --workdir?"),
        ((DIGITS, "--no-debug"), "unknown flag --no-debug; did you mean --nodebug?"),
        ((DIGITS, "--xyzzy=1"), "unknown flag --xyzzy; --help shows the flags"),
        ((DIGITS, "--workdir"), "--workdir has no value; write --workdir=VALUE"),
        ((DIGITS, "--workdir", "--nodebug"), "--workdir has no value; write --workdir=VALUE"),
        (("--config", "--workdir=w"), "--config has no value; write --config=VALUE"),
        (("--config=",), "--config has no value; for example --config=configs/digits.py"),
        ((DIGITS, "--config=c.py"), "--config is given 2 times"),
        ((DIGITS, "--", "--wrokdir"), "argument '--wrokdir' is not a flag"),
    ],
)
def test_wrong_flags(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        parse(*arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--inptu=x",), "unknown flag --inptu; did you mean --input? --help shows the flags"),
        (("--input=x", "--norotat"), "unknown flag --norotat; did you mean --norotate?"),
        (("--input=x", "--input.x=1"), "unknown flag --input.x; did you mean --input?"),
        (("--input=x", "--out"), "--out has no value; write --out=VALUE"),
        (("--input=x", "--out", "--rotate"), "--out has no value; write --out=VALUE"),
        (("--input=x", "--out=y", "--beta", "-3"), "--beta must be a number above 0, got -3.0"),
    ],
)
def test_wrong_flags_of_the_projection(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        project_flags.parse(["project", *arguments], "Usage.")


def test_overrides_keep_the_kind_of_the_value() -> None:
    config = parse(
        DIGITS,
        "--config.teacher.learning_rate=1",
        "--config.student.model.hidden=64,32",
        "--config.methods.lelp.beta=0.5",
        "--config.methods.lelp.membership=teacher,label",
        "--config.methods.kd.temperature=(2,4.0)",
        "--config.report.selection_metric=nll",
    ).config
    assert config["teacher"]["learning_rate"] == 1.0
    assert config["student"]["model"]["hidden"] == (64, 32)
    assert config["methods"]["lelp"]["beta"] == (0.5,)
    assert config["methods"]["lelp"]["membership"] == ("teacher", "label")
    assert config["methods"]["kd"]["temperature"] == (2, 4.0)
    assert config["report"]["selection_metric"] == "nll"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--config.count=3"], ["--config.count=3"]),
        (["--config.count", "-3"], ["--config.count=-3"]),
        (["--config.part.deep.count=0x10"], ["--config.part.deep.count=0x10"]),
        (["--config.on"], ["--config.on=true"]),
        (["--noconfig.on"], ["--config.on=false"]),
        (["--config.name=a,b=c"], ["--config.name=a,b=c"]),
        (["--config.columns=age"], ["--config.columns=('age',)"]),
        (["--config.columns=age, my income"], ["--config.columns=('age', 'my income')"]),
        (["--config.columns=[age,income]"], ["--config.columns=('age', 'income')"]),
        (["--config.columns="], ["--config.columns=()"]),
        (["--config.sizes=(3,)"], ["--config.sizes=(3,)"]),
        (["--config.part={'deep': {'count': 5}}"], ["--config.part={'deep': {'count': 5}}"]),
        (["--workdir=x", "rest"], ["--workdir=x", "rest"]),
    ],
)
def test_overrides_are_brought_to_one_form(given: list[str], expected: list[str]) -> None:
    assert overrides.normalize(CONFIG, given, "columns".__eq__) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", ("0",)),
        ("0,1", ("0", "1")),
        ("(0, 1,)", ("0", "1")),
        ("1e3,None,True,-1,0x10,007", ("1e3", "None", "True", "-1", "0x10", "007")),
        ("None", ("None",)),
        ("'0','1'", ("0", "1")),
        ("('a, b', '1')", ("a, b", "1")),
        ("age,income ($)", ("age", "income ($)")),
        ("(a),b(c)", ("(a)", "b(c)")),
        ("[(a),b(c)]", ("(a)", "b(c)")),
        ("{'a': 1}", ("{'a': 1}",)),
        ("", ()),
        ("()", ()),
    ],
)
def test_words_are_texts_where_the_key_holds_texts(text: str, expected: tuple[str, ...]) -> None:
    columns = [f"--config={CONFIGS}/table.py", f"--config.data.columns={text}"]
    assert parse(*columns).config["data"]["columns"] == expected


def test_which_keys_hold_texts() -> None:
    config = config_file.load_config(CONFIGS / "table.py").to_dict()
    texts = {"data.columns", "methods.lelp.membership"}
    others = {"data.split", "methods.kd.alpha", "student.model.hidden", "seed", "no.such.key"}
    assert {key for key in texts | others if holds_texts(config, key)} == texts
    # Without its class nothing can be said of a section; what is wrong with it is told later.
    assert not holds_texts({**config, "data": {"source": "tabel"}}, "data.columns")


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.cuont=3", "unknown key of config: 'cuont'; did you mean 'count'?"),
        ("--config.part.deep.x=3", "unknown key of config.part.deep: 'x'; known: count"),
        ("--config.count.x=3", "config.count is a value, not a section: it has no key 'x'"),
        ("--config.count=3.5", "config.count must be a whole number, got '3.5'"),
        ("--config.rate=fast", "config.rate must be a number, got 'fast'"),
        ("--config.on=maybe", "config.on must be True or False, got 'maybe'"),
        ("--config.part=3", "config.part is a section, got '3'; set one of its keys: deep"),
        ("--noconfig.count", "--noconfig.count works for booleans only; use --config.count=VALUE"),
        ("--config.count", "--config.count has no value"),
    ],
)
def test_wrong_overrides(argument: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        overrides.normalize(CONFIG, [argument], bool)


def test_overrides_of_references_reach_what_follows_from_them(tmp_path: Path) -> None:
    path = tmp_path / "c.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        "def get_config():\n"
        "    config = ConfigDict({'size': 2})\n"
        "    config.double = config.get_ref('size') * 2\n"
        "    return config\n"
    )
    assert parse(f"--config={path}", "--config.size=5").config == {"size": 5, "double": 10}


def test_config_file_that_was_just_changed_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "c.py"
    for value in (1, 2):
        path.write_text(
            "from ml_collections import ConfigDict\n"
            f"def get_config():\n    return ConfigDict(dict(a={value}))\n"
        )
        assert config_file.load_config(path).a == value
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.py"]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device", "a/b"), "a/b: No space left on device; free some"),
        (OSError(30, "Read-only file system", "a"), "a: Read-only file system; give a --workdir"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (KeyError("a\nb"), "a b"),
        (ValueError("a\n  b"), "a b"),
    ],
)
def test_errors_are_told_on_one_line(error: Exception, text: str) -> None:
    assert format_error(error).startswith(text)
    assert "\n" not in format_error(error)


def test_unknown_name_lists_what_is_known() -> None:
    assert (
        str(make_unknown_name_error("thing", "x", ["c", "b"])) == "unknown thing: 'x'; known: b, c"
    )
