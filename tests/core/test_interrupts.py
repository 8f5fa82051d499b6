"""Ctrl-C and SIGTERM: a checkpoint, the exit code of the signal, a line that says how to resume."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lelp_jax.core.errors import Interrupted
from lelp_jax.core.interrupts import Interrupts
from tests.helpers import fault_runs


@pytest.mark.slow
def test_a_signal_in_training_saves_and_says_how_to_resume(tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    resumed = "at step 0"
    for name, code, step in (("SIGINT", 130, 17), ("SIGTERM", 143, 34)):
        stopped = fault_runs.run("students", 1, workdir, name)
        assert stopped.returncode == code, stopped.stderr
        last = stopped.stderr.strip().splitlines()[-1]
        assert last.startswith("interrupted; finished work is saved. Resume with: python -m lelp")
        assert f"--workdir={workdir}" in last
        assert list(workdir.glob(f"students/*/checkpoints/{step}"))
        assert not (workdir / "results.jsonl").exists()
        assert resumed == "at step 0" or f"students: resumed {resumed} of 50" in stopped.stderr
        resumed = f"at step {step}"
    finished = fault_runs.run("none", 0, workdir)
    assert finished.returncode == 0, finished.stderr
    assert f"students: resumed {resumed} of 50" in finished.stderr


@pytest.fixture
def own_handlers() -> Iterator[None]:
    """The handlers of a command in the foreground, wherever the tests run."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_handlers")
def test_an_ignored_signal_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Interrupts().listen() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        assert not interrupts.requested
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("own_handlers")
def test_a_request_is_seen_at_the_next_check() -> None:
    interrupts = Interrupts()
    with interrupts.listen():
        interrupts.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.requested
        with pytest.raises(Interrupted) as stop:
            interrupts.check()
        assert stop.value.signal_number == signal.SIGTERM
        # A second signal ends the process at once.
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
