"""Teachers from elsewhere: only their answers are known, in files that any framework can write."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np

from lelp_jax.core import artifacts
from lelp_jax.core.constraints import NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.core.session import Session
from lelp_jax.data import identity
from lelp_jax.data.dataset import Dataset
from lelp_jax.storage import objects
from lelp_jax.storage.bundle import Bundle
from lelp_jax.storage.checked import checksum
from lelp_jax.storage.content import digest
from lelp_jax.storage.open import open_bundle
from lelp_jax.storage.rows import Selection
from lelp_jax.teachers import imported, weights
from lelp_jax.teachers.base import Teacher
from lelp_jax.teachers.imported import Imported

_LOG = logging.getLogger(__name__)
_VERSION = 1
_ID = "ids"


@dataclasses.dataclass(frozen=True)
class ImportedTeachers:
    """One file, folder or address per teacher; replicate r learns from teacher r mod their number.

    Each holds `embeddings` [rows, dims], `logits` or `probabilities` [rows, classes] and,
    optionally, `output_weights` [dims, classes] and `ids` [rows]. Their rows are those of the data:
    joined by id where both sides have ids, otherwise in the order of the data's files (training,
    validation, test). Training and validation rows are needed; without test rows the teacher's test
    metrics stay empty.

    Attributes:
        files: .npz, .parquet, a folder of .npy files, or a zarr group, local or at an address.
        output_weights: An .npy file per teacher, where the files above have no place for them;
            empty takes theirs, or estimates the range of the weights by least squares.
        id: The array that names the rows; "" joins by order.
    """

    answers_inputs: ClassVar[bool] = False
    training: ClassVar[None] = None

    files: Annotated[tuple[Annotated[str, NonEmpty("a file")], ...], NonEmpty()]
    output_weights: tuple[str, ...] = ()
    id: str = _ID

    def __post_init__(self) -> None:
        if self.output_weights and len(self.output_weights) != len(self.files):
            raise UserError(
                f"output_weights names {len(self.output_weights)} files, but files "
                f"{len(self.files)}; give one per teacher"
            )

    def check(self, dataset: Dataset) -> None:
        """Opens every file and joins it with the data.

        Raises:
            UserError: A file cannot be used, or its rows are not those of the data.
        """
        for number in range(len(self.files)):
            self._join(number, dataset)

    def resolve_steps(self, dataset: Dataset) -> ImportedTeachers:
        """Returns itself: nothing is trained."""
        del dataset
        return self

    def ensure(self, root: Path, dataset: Dataset, seed: int, session: Session) -> list[Teacher]:
        """Returns the teachers.

        Args:
            root: The workdir.
            dataset: The data.
            seed: Not used.
            session: The run.
        """
        del seed
        teachers = []
        with session.reporter.stage("teachers", len(self.files), "files"):
            for number in range(len(self.files)):
                session.interrupts.check()
                teachers.append(self._teacher(number, root, dataset))
                session.reporter.advance(1)
        return teachers

    def _teacher(self, number: int, root: Path, dataset: Dataset) -> Teacher:
        found, where = self._join(number, dataset)
        _check_agreement(found, where, dataset)
        _check_test_rows(found, where, dataset)
        given = found.output_weights
        content = digest(found.bundle, found.names, root / "digests.json")
        fingerprint = artifacts.fingerprint(
            {
                "what": "arrays",
                "version": _VERSION,
                "content": content,
                "weights": None if given is None else checksum(given),
                "join": hashlib.blake2b(where.tobytes(), digest_size=16).hexdigest(),
            }
        )

        @functools.cache
        def output_weights() -> np.ndarray:
            if given is not None:
                return given
            train = where[dataset.train]
            return weights.estimate(
                Selection(found.embeddings, train),
                Selection(found.logits, train),
                found.from_probabilities,
                found.bundle.location,
            )[0]

        return Teacher(
            fingerprint=fingerprint,
            dims=found.embeddings.shape[1],
            outputs=dataset.num_classes,
            answers=lambda index: found.answers(where[index]),
            class_logits=lambda index: found.logits[where[index]],
            output_weights=output_weights,
            answers_test=bool((where[dataset.test] >= 0).all()),
            mend=f"mend {found.bundle.location}",
            network=None,
        )

    def _join(self, number: int, dataset: Dataset) -> tuple[Imported, np.ndarray]:
        """Returns a teacher's arrays, and which of their rows each row of the data is, or -1."""
        location = self.files[number]
        bundle = open_bundle(location, f"config.teacher.files[{number}]")
        found = imported.read(bundle)
        if self.output_weights:
            path = self.output_weights[number]
            place = f"config.teacher.output_weights[{number}]"
            values = imported.weights_of(
                _weights_file(path, place), path, found.embeddings.shape[1], found.logits.shape[1]
            )
            found = dataclasses.replace(found, output_weights=values)
        if found.logits.shape[1] != dataset.num_classes:
            raise UserError(
                f"{location} has {found.logits.shape[1]} classes, the data {dataset.num_classes} "
                f"({', '.join(dataset.class_names)}); give the teacher of these classes"
            )
        where = self._where(bundle, len(found.embeddings), dataset)
        for name, rows in (("training", dataset.train), ("validation", dataset.validation)):
            missing = where[rows] < 0
            if missing.any():
                row = rows[int(np.argmax(missing))]
                known = "" if dataset.ids is None else f" (id {str(dataset.ids[row])!r})"
                raise UserError(
                    f"{location} has no answer for {missing.sum()} of {len(rows)} {name} rows, "
                    f"such as data row {row}{known}; run the teacher on all training and "
                    "validation rows"
                )
        return found, where

    def _where(self, bundle: Bundle, rows: int, dataset: Dataset) -> np.ndarray:
        total = len(dataset.labels)
        by_id = bool(self.id) and self.id in bundle
        if self.id not in ("", _ID) and not by_id:
            raise UserError(
                f"{bundle.location} has no array {self.id!r} (config.teacher.id); it holds "
                f"{', '.join(bundle.names())}"
            )
        if by_id and dataset.ids is None:
            raise UserError(
                f"{bundle.location} names its rows, but the data do not; name their id column with "
                "--config.data.id=COLUMN (key 'ids' in .npz data), or join by order with "
                "--config.teacher.id="
            )
        if by_id:
            raw = np.asarray(bundle.array(self.id)[:])
            if raw.shape != (rows,):
                raise UserError(
                    f"{bundle.location}: {self.id} have shape {raw.shape}, one per row is needed"
                )
            names = identity.read(raw, self.id, lambda row: bundle.place(self.id, row))
            assert dataset.ids is not None
            identity.refuse_twice(dataset.ids, "id", lambda row: f"data row {row}")
            return identity.positions(dataset.ids, names)
        # Test rows of a file of their own come last, and may be left out.
        without_test = total - len(dataset.test)
        last = np.array_equal(dataset.test, np.arange(without_test, total))
        allowed = {total, without_test} if last else {total}
        if rows not in allowed:
            mend = " or ".join(f"{count:,}" for count in sorted(allowed))
            raise UserError(
                f"{bundle.location} has {rows:,} rows, the data {mend}; joined by order they must "
                "be the same: save an answer for each row, or join by id (config.teacher.id)"
            )
        return np.where(np.arange(total) < rows, np.arange(total), -1)


def _check_agreement(found: Imported, where: np.ndarray, dataset: Dataset) -> None:
    """Warns of a teacher that is right as often as by chance: its rows may be in another order."""
    rows = dataset.labelled_train
    label, said = dataset.labels[rows], found.logits[where[rows]].argmax(axis=1)
    right = float((said == label).mean())
    # The same answers in any order.
    shares = [
        np.bincount(values, minlength=dataset.num_classes) / len(rows) for values in (label, said)
    ]
    chance = float(shares[0] @ shares[1])
    ordered = right > chance + 3 * np.sqrt(chance * (1 - chance) / len(rows))
    log = _LOG.info if ordered else _LOG.warning
    log(
        "%s: right on %.1f %% of the labelled training rows%s",
        found.bundle.location,
        100 * right,
        ""
        if ordered
        else f", where chance gives {100 * chance:.1f} %: check that rows and classes are in the "
        "order of the data",
    )


def _check_test_rows(found: Imported, where: np.ndarray, dataset: Dataset) -> None:
    """Leaves all test rows out where the teacher answers for some of them only.

    Raises:
        UserError: An answer is not finite; the report would find it after all the training.
    """
    answered = where[dataset.test] >= 0
    if answered.all():
        _ = found.logits[where[dataset.test]]
    else:
        where[dataset.test] = -1
        _LOG.info(
            "%s: no answers for %s test rows; the teacher's test metrics stay empty",
            found.bundle.location,
            f"{(~answered).sum()} of {len(answered)}" if answered.any() else "the",
        )


def _weights_file(path: str, place: str) -> np.ndarray:
    try:
        with open(objects.local_path(path), "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a readable .npy file ({reason}); check {place}") from error
