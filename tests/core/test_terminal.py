"""Whatever a terminal or a log can hold, and whether or not it is read: the run ends well."""

import io
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lelp_jax.core import terminal
from lelp_jax.main import main
from tests.helpers import tiny


def replace_streams(monkeypatch: pytest.MonkeyPatch, encoding: str) -> tuple[io.BytesIO, ...]:
    """Gives the process an output and an error stream of an encoding; returns what they write."""
    written = io.BytesIO(), io.BytesIO()
    for name, stream in zip(("stdout", "stderr"), written, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding, write_through=True))
    return written


@pytest.mark.parametrize(("encoding", "sign"), [("ascii", "+-"), ("cp1252", "±"), ("utf-8", "±")])
def test_a_table_is_printed_in_every_encoding(
    encoding: str, sign: str, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_run, tmp_path / "café")
    out, _ = replace_streams(monkeypatch, encoding)
    assert tiny.run(tmp_path / "café") == 0
    title, *lines = out.getvalue().decode(encoding).splitlines()
    assert title.endswith(
        "caf\\xe9/report/report.md" if encoding == "ascii" else "café/report/report.md"
    )
    table = [line for line in lines if line.strip(" |").startswith(tiny.METHODS)]
    rows = [line for line in table if f" {sign} " in line]
    assert {row.strip(" |").split()[0] for row in rows} >= set(tiny.METHODS)
    # What is longer than the sign that it replaces does not put the columns out of line.
    assert len({len(line) for line in table}) == 1


def test_a_message_with_what_the_terminal_lacks_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, error = replace_streams(monkeypatch, "ascii")
    assert main(["main", "--config=café\udcff.py"]) == 2
    assert (
        error.getvalue().decode("ascii").startswith("error: --config=caf\\xe9\\udcff.py: no such")
    )


def test_help_is_shown_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = replace_streams(monkeypatch, "ascii")
    config = f"--config={tiny.ROOT}/experiments/digits_baselines.py"
    assert main(["main", config, "--help=config.methods.subclass_distillation"]) == 0
    assert out.getvalue().startswith(b"config.methods.subclass_distillation: M\\xfcller")


@given(st.text(), st.sampled_from(["ascii", "cp1252", "latin-1", "utf-8", "shift_jis"]))
def test_what_an_encoding_has_is_kept(text: str, encoding: str) -> None:
    spelled = terminal.spell_out(text, encoding)
    assert spelled.encode(encoding).decode(encoding) == spelled
    if text.encode(encoding, "ignore").decode(encoding) == text:
        assert spelled == text
    assert terminal.spell_out("a ± b …", "ascii") == "a +- b ..."


def close_pipe(monkeypatch: pytest.MonkeyPatch, name: str) -> io.TextIOWrapper:
    """Makes a stream of the process a pipe whose reader has left."""
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, name, stream)
    return stream


def test_a_reader_that_leaves_ends_no_run(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    stream = close_pipe(monkeypatch, "stdout")
    assert tiny.run(tmp_path / "run") == 0
    # Closing writes what is left: Python would complain at its end.
    stream.close()


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_leaves_changes_no_exit_code(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = close_pipe(monkeypatch, name)
    assert main(["main", "--help"]) == 0
    assert main(["main", "--config=missing.py"]) == 2
    stream.close()


def test_texts_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[bold]a[/bold] :car: " + "word " * 100 + "[0.1]"
    terminal.write(text)
    assert capsys.readouterr().out == f"{text}\n"
