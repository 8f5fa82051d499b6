"""Progress: bars on a terminal, lines elsewhere, with rates that can be read."""

import io
import itertools
import logging
import sys
import time

import pytest

from lelp_jax.core import progress
from lelp_jax.core.progress import Reporter


@pytest.mark.parametrize(
    ("done", "seconds", "unit", "text"),
    [
        (1200, 1.0, "steps", "1,200/s"),
        (25, 10.0, "steps", "2.5/s"),
        (1, 1.0, "steps", "1.0/s"),
        (3, 30.0, "steps", "10.0 s/step"),
        (1, 4000.0, "texts", "4,000.0 s/text"),
        (99, 100.0, "rows", "1.0 s/row"),
        (0, 10.0, "rows", "-"),
    ],
)
def test_no_rate_is_shown_as_zero(done: int, seconds: float, unit: str, text: str) -> None:
    assert progress._format_rate(done, seconds, unit) == text


def test_lines_tell_what_is_done_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch, package_log: list
) -> None:
    clock = itertools.count(0, 20)
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    reporter = Reporter()
    with reporter.show_stage("students", 1000, "steps"):
        reporter.advance(0)
        reporter.advance(2)
        reporter.advance(198)
    assert package_log == [
        (logging.INFO, "students: 2/1000 steps, 20.0 s/step, 5:32:40 left"),
        (logging.INFO, "students: 200/1000 steps, 3.3/s, 0:04:00 left"),
    ]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_gets_bars(
    encoding: str, monkeypatch: pytest.MonkeyPatch, package_log: list
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(written, encoding))
    monkeypatch.setenv("FORCE_COLOR", "1")
    reporter = Reporter()
    with reporter.show_stage("students", 10, "steps"):
        reporter.advance(4)
        reporter.log("[one] message of :car:")
        reporter.advance(6)
    text = written.getvalue().decode(encoding)
    assert "10/10" in text
    assert "[one] message of :car:" in text
    assert package_log == []
