"""The stage that keeps the answers of a teacher in a bank."""

import dataclasses
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lelp_jax.bank import stage
from lelp_jax.bank.stage import BankConfig
from lelp_jax.bank.store import Bank
from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import Interrupted, Unavailable, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import Preprocessing
from lelp_jax.storage import objects
from lelp_jax.teachers.base import Teacher
from tests.helpers import stored
from tests.helpers.banks import (
    CLASSES,
    DIMS,
    EMBEDDINGS,
    INDEX,
    LOGITS,
    WEIGHTS,
    Asked,
    holds_everything,
    one_line,
)


def dataset(rows: int = 80) -> Dataset:
    return Dataset(
        inputs=np.arange(2 * rows, dtype=np.float32).reshape(rows, 2),
        labels=np.arange(rows, dtype=np.int32) % CLASSES,
        fine_labels=None,
        train=INDEX[:50],
        validation=INDEX[50:],
        test=np.setdiff1d(np.arange(rows), INDEX),
        class_names=("a", "b", "c"),
        fine_names=(),
        preprocessing=Preprocessing(np.float32(0), np.float32(1)),
    )


def teacher(answers: Callable[..., Any], name: str = "t") -> Teacher:
    def logits(index: np.ndarray) -> np.ndarray:
        return answers(index)[0]

    return Teacher(
        name, DIMS, CLASSES, answers, logits, lambda: WEIGHTS, True, "fix the teacher", None
    )


def ensure(
    answers: Callable[..., Any], root: str = "", name: str = "t", workdir: str = "run"
) -> Bank:
    session = Session(Reporter(), Interrupts(), CurveLog(Path("metrics.jsonl")), 60)
    return stage.ensure(
        Path(workdir), BankConfig(root=root), teacher(answers, name), dataset(), session
    )


def test_the_stage_computes_a_bank_once() -> None:
    answers = Asked()
    bank = ensure(answers)
    holds_everything(bank)
    assert bank.location == str(Path("run/banks") / bank.fingerprint)
    again = ensure(Asked(stop_after=0))
    assert again.fingerprint == bank.fingerprint
    holds_everything(again)
    assert ensure(Asked(), name="u").fingerprint != bank.fingerprint


@pytest.mark.parametrize("root", ["", "elsewhere"])
def test_a_damaged_manifest_is_told_and_the_bank_computed_again(
    root: str, package_log: list
) -> None:
    bank = ensure(Asked(), root)
    stored.cut(Path(bank.location, "manifest.json"), 5)
    again = Asked()
    holds_everything(ensure(again, root))
    np.testing.assert_array_equal(np.concatenate(again.requests), INDEX)
    (message,) = [text for level, text in package_log if level >= logging.WARNING]
    assert bank.location in message
    assert message.endswith("building it again")


@pytest.mark.parametrize("root", ["elsewhere/banks", "memory://banks/of/mine"])
def test_a_bank_may_lie_elsewhere(root: str) -> None:
    bank = ensure(Asked(), root)
    assert bank.location == objects.join(root, bank.fingerprint)
    assert [path.name for path in Path("run/banks").glob("*/*")] == ["stage.json"]
    holds_everything(bank)
    holds_everything(ensure(Asked(stop_after=0), root))
    # Another workdir shares it.
    holds_everything(ensure(Asked(stop_after=0), root, workdir="second"))
    # Deleted there, as an error tells to, it is computed again, and resumes there.
    objects.delete_tree(bank.location)
    first = Asked(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        ensure(first, root)
    second = Asked()
    holds_everything(ensure(second, root))
    np.testing.assert_array_equal(np.concatenate(first.requests + second.requests), INDEX)
    # Asked for in the workdir, it is not the one elsewhere.
    assert ensure(Asked()).location == str(Path("run/banks") / bank.fingerprint)
    objects.delete_tree(bank.location)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["logits", "embedding"])
def test_answers_that_are_not_finite_name_the_row_of_the_data(name: str, value: float) -> None:
    row = INDEX[37]

    def answers(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = {"logits": LOGITS[rows].copy(), "embedding": EMBEDDINGS[rows].copy()}
        parts[name][rows == row, 1] = value
        return parts["logits"], parts["embedding"]

    with pytest.raises(UserError) as error:
        ensure(answers)
    one_line(error, f"the teacher's {name} of data row {row} is not finite; fix the teacher")
    assert not list(Path("run/banks").iterdir())


def test_what_cannot_be_reached_now_leaves_finished_chunks() -> None:
    first = Asked()

    def answers(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(first.requests) == 3:
            raise Unavailable("gs://bucket/teacher cannot be read")
        return first(rows)

    with pytest.raises(Unavailable):
        ensure(answers)
    second = Asked()
    holds_everything(ensure(second))
    assert (len(first.requests), len(second.requests)) == (3, 5)


def test_a_stop_leaves_finished_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = iter(range(4))

    def check(_: Interrupts) -> None:
        if next(checks, None) is None:
            raise Interrupted(2)

    first = Asked()
    with monkeypatch.context() as patch:
        patch.setattr(Interrupts, "check", check)
        with pytest.raises(Interrupted):
            ensure(first)
    second = Asked()
    holds_everything(ensure(second))
    # The first of the four checks is that before the bank.
    assert (len(first.requests), len(second.requests)) == (3, 5)


def test_data_in_another_order_have_another_bank() -> None:
    data = dataset()
    turned = dataclasses.replace(data, inputs=data.inputs[::-1].copy())
    session = Session(Reporter(), Interrupts(), CurveLog(Path("metrics.jsonl")), 60)
    banks = [
        stage.ensure(Path("run"), BankConfig(), teacher(Asked()), given, session)
        for given in (data, turned)
    ]
    assert banks[0].fingerprint != banks[1].fingerprint
    # And one that is put in the place of another is computed again.
    shutil.rmtree(banks[1].location)
    shutil.copytree(banks[0].location, banks[1].location)
    asked = Asked()
    stage.ensure(Path("run"), BankConfig(), teacher(asked), turned, session)
    assert asked.requests
