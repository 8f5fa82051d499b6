"""The story of `lelp_jax.answer`: read, load, answer, match the classes, write."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

import filelock
import numpy as np

from lelp_jax.answering import classes, model, output, texts
from lelp_jax.answering.classes import Matching
from lelp_jax.answering.flags import AnswerArguments
from lelp_jax.answering.model import Answerer
from lelp_jax.answering.texts import TextRows
from lelp_jax.bank import store
from lelp_jax.bank.store import Bank
from lelp_jax.core.errors import Damaged, UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.data import identity
from lelp_jax.inputs.text_encoding import as_unicode
from lelp_jax.storage import objects

_LOG = logging.getLogger(__name__)
# If what a model answers, or how it is kept until all texts are answered, changes.
_VERSION = 1
# Texts whose answers show how a model is to be used.
_TRIED = 4


@dataclasses.dataclass(frozen=True)
class _Task:
    """What there is to answer, and by what.

    Attributes:
        arguments: The command line.
        texts: The rows.
        model: The model.
        lengths: Number of tokens of each text, uncut, [rows].
        matching: Which output of the model is which class.
    """

    arguments: AnswerArguments
    texts: TextRows
    model: Answerer
    lengths: np.ndarray
    matching: Matching


def run(arguments: AnswerArguments, interrupts: Interrupts, reporter: Reporter) -> None:
    """Answers all texts and writes what a teacher from elsewhere has to give.

    Args:
        arguments: The command line.
        interrupts: Whether to stop.
        reporter: Shows progress.

    Raises:
        UserError: A file, the model or a value cannot be used.
        Interrupted: The run was asked to stop; finished parts are kept.
    """
    found = texts.read(arguments)
    output.check(arguments.out, found)
    task = _prepare(arguments, found)
    reporter.log(f"{arguments.model}: {task.model.description}")
    reporter.log(f"classes: {task.matching.note}")
    _report_cut_texts(task, reporter)
    partial = f"{arguments.out.rstrip('/')}.partial"
    if not objects.is_url(partial):
        partial = str(objects.local_path(partial))
    with _lock(arguments.out):
        try:
            _answer_and_write(task, partial, interrupts, reporter)
        except Damaged as damage:
            _LOG.warning("%s; answering all texts again", damage.problem)
            objects.delete_tree(partial)
            _answer_and_write(task, partial, interrupts, reporter)
        objects.delete_tree(partial)


@contextlib.contextmanager
def _lock(location: str) -> Iterator[None]:
    """Keeps other processes from mixing their answers with those of this one.

    Raises:
        UserError: Another process writes to the same location of this machine.
    """
    if objects.is_url(location):
        yield
        return
    path = objects.local_path(location)
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(
            f"--out={location}: another process is writing its answers there; wait for it to end, "
            "or give another --out"
        ) from None
    try:
        yield
    finally:
        # Before the release: another process may hold a new one already.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _prepare(arguments: AnswerArguments, found: TextRows) -> _Task:
    """Loads the model and finds out how to use it."""
    # PyTorch takes seconds to import: only now that the data are known to be right.
    from lelp_jax.answering import loading

    teacher = loading.load(arguments)
    whole = as_unicode(found.texts)
    lengths = model.count_tokens(teacher, whole)
    # The shortest and the longest, and some between them.
    tried = np.argsort(lengths, kind="stable")[
        np.linspace(0, len(lengths) - 1, _TRIED).round().astype(int)
    ]
    teacher.prepare([whole[row] for row in np.unique(tried)])
    if teacher.names:
        matching = classes.match(
            teacher.names, arguments.label_names, found.class_names, found.named
        )
    else:
        matching = _use_classes_of_data(arguments, found)
    return _Task(arguments, found, teacher, lengths, matching)


def _use_classes_of_data(arguments: AnswerArguments, found: TextRows) -> Matching:
    """Numbers the outputs of a head that is fitted as the data number the classes."""
    if found.labels is None:
        raise UserError(
            "--fit_head needs labels, and the files have none; name their column with --label=NAME"
        )
    if len(found.files) == 1:
        raise UserError(
            "--fit_head fits the labels of the first file, of which validation and test rows must "
            "be no part; give these files of their own: --data=train.csv,validation.csv,test.csv"
        )
    if arguments.label_names:
        raise UserError(
            "--label_names belongs to a model with a classifier; leave it out with --fit_head"
        )
    from lelp_jax.answering import head

    head.check(found.labels[found.first_file], len(found.class_names))
    names = found.class_names if found.named else ()
    return Matching(
        np.arange(len(found.class_names)),
        names,
        by_name=True,
        note="those of the labels, to which the output layer is fitted: "
        f"{classes.list_classes(found.class_names)}",
    )


def _report_cut_texts(task: _Task, reporter: Reporter) -> None:
    """Says how many texts are longer than what the model is shown."""
    limit = task.model.max_length
    cut = int((task.lengths > limit).sum())
    longest = f"the longest has {int(task.lengths.max()):,} tokens"
    if cut:
        reporter.log(
            f"{cut:,} of {len(task.lengths):,} texts are cut at {limit} tokens ({longest}); "
            "--max_length changes that"
        )
    else:
        reporter.log(f"no text is cut at {limit} tokens ({longest})")


def _answer_and_write(
    task: _Task, partial: str, interrupts: Interrupts, reporter: Reporter
) -> None:
    """Answers the texts that have no answer yet, then writes all answers."""
    bank = _answer(task, partial, interrupts, reporter)
    weights, bias = task.model.output_layer()
    order = task.matching.outputs
    if task.model.names:
        logits = bank.logits[:, order]
        weights, bias = weights[:, order], bias[order]
    else:
        from lelp_jax.answering import head

        assert task.texts.labels is not None
        first = task.texts.first_file
        weights, bias = head.fit(bank.embeddings[first], task.texts.labels[first], len(order))
        logits = _apply(bank, weights, bias)
    if task.texts.labels is not None:
        right = classes.check_agreement(task.matching, logits.argmax(axis=1), task.texts.labels)
        if right is not None:
            reporter.log(f"the model gives the label of {100 * right:.1f} % of the labelled rows")
    output.write(task.arguments.out, task.texts, bank, task.matching, (weights, bias), logits)
    reporter.log(
        f"{task.arguments.out}: embeddings {list(bank.embeddings.shape)}, logits "
        f"{list(logits.shape)}, output weights {list(weights.shape)}"
    )


def _answer(task: _Task, partial: str, interrupts: Interrupts, reporter: Reporter) -> Bank:
    """Answers the texts, kept in a bank until all are answered."""
    whole = as_unicode(task.texts.texts)

    def advance(count: int) -> None:
        interrupts.check()
        reporter.advance(count)

    def answers(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        embeddings, logits = model.answer_all(
            task.model, [whole[row] for row in index], task.lengths[index], advance
        )
        _refuse_infinite(task, index, embeddings, logits)
        return logits, embeddings

    rows = len(whole)
    of = {
        "teacher": task.model.fingerprint,
        "data": hashlib.blake2b(identity.hash_texts(whole).tobytes(), digest_size=16).hexdigest(),
        "options": f"{_VERSION} {task.model.max_length} {task.model.batch_size}",
    }
    contents = store.Contents(
        of=of,
        index=np.arange(rows),
        answers=answers,
        output_weights=lambda: task.model.output_layer()[0],
        shape=(max(len(task.model.names), 1), task.model.dims),
        dtype="float32",
    )
    done = store.count_finished(partial, contents)
    if done is None:
        reporter.log(f"{partial} holds answers of another model, data or option; starting anew")
    elif done:
        reporter.log(f"{done:,} of {rows:,} texts were answered before; resuming")
    with reporter.show_stage("answers", rows - (done or 0), "texts"):
        store.write(partial, contents, interrupts.check)
    return store.read(partial, task.model.fingerprint, of, contents.index)


def _refuse_infinite(
    task: _Task, index: np.ndarray, embeddings: np.ndarray, logits: np.ndarray
) -> None:
    for name, values in (("embedding", embeddings), ("logits", logits)):
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            place = task.texts.place(int(index[int(np.argmin(finite))]))
            raise UserError(
                f"{place}: the model's {name} of this text is not finite; check the model's weights"
            )


def _apply(bank: Bank, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Computes the logits of all rows from their embeddings, [rows, classes] float32."""
    logits = np.empty((len(bank.embeddings), len(bias)), np.float32)
    size = 1 << 14
    for start in range(0, len(logits), size):
        logits[start : start + size] = bank.embeddings[start : start + size] @ weights + bias
    return logits
