"""Teachers trained elsewhere, given by files of their outputs that any framework can write."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Sequence
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
from lelp_jax.storage.content import hash_bundle
from lelp_jax.storage.open import open_bundle
from lelp_jax.teachers import agreement, alignment, imported, weights
from lelp_jax.teachers.base import Teacher
from lelp_jax.teachers.imported import Imported

_LOG = logging.getLogger(__name__)
_VERSION = 2
_ID = "ids"


@dataclasses.dataclass(frozen=True)
class ImportedTeachers:
    """Teachers given by one file, folder or address each.

    The students of replicate r learn from teacher r mod the number of teachers.

    Each location holds `embeddings` [rows, dims], `logits` or `probabilities` [rows, classes] and,
    optionally, `output_weights` [dims, classes] and `ids` [rows]. Its rows are matched with those
    of the data by id if both have ids, and by order otherwise (training, validation, test).
    Training and validation rows are required; without test rows the teacher's test metrics stay
    empty. How the range of the output weights follows from these arrays, where it is taken out of
    the embedding, says `teachers.weights`.

    Attributes:
        files: .npz, .parquet, a folder of .npy files, or a zarr group, local or at an address.
        output_weights: An .npy file per teacher, for formats that cannot hold the weights. If
            empty, those in `files` are used, or their range is estimated by least squares.
        id: Name of the array of row ids; "" matches by order.
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

    @property
    def count(self) -> int:
        """Number of teachers."""
        return len(self.files)

    def check(self, dataset: Dataset) -> None:
        """Opens every file, matches its rows with those of the data, and checks output weights.

        Raises:
            UserError: A file cannot be used, or its rows do not match those of the data.
        """
        for number in range(len(self.files)):
            arrays, positions = self._join(number, dataset)
            weights.check(arrays, positions[dataset.train])

    def resolve_steps(self, dataset: Dataset) -> ImportedTeachers:
        """Returns the section unchanged, since nothing is trained."""
        del dataset
        return self

    def ensure(
        self, root: Path, dataset: Dataset, known: Sequence[Dataset], seed: int, session: Session
    ) -> list[Teacher]:
        """Reads the teachers' files and matches their rows with those of the data.

        Args:
            root: The workdir.
            dataset: The data.
            known: The data with the labels that each teacher's students know.
            seed: Not used.
            session: The run.
        """
        del seed
        if any(each is not dataset for each in known):
            _LOG.warning(
                "config.data.labelled_rows hides labels from projections and students; which "
                "labels the teachers of config.teacher.files have seen is not known"
            )
        teachers = []
        with session.reporter.show_stage("teachers", len(self.files), "files"):
            for number in range(len(self.files)):
                session.interrupts.check()
                teachers.append(self._read_teacher(number, root, known[number]))
                session.reporter.advance(1)
        return teachers

    def _read_teacher(self, number: int, root: Path, dataset: Dataset) -> Teacher:
        arrays, positions = self._join(number, dataset)
        _drop_partial_test_rows(arrays, positions, dataset)
        agreement.check(arrays, positions, dataset)
        given = arrays.output_weights
        # The fingerprint covers content, not paths: a file may be moved, and a file with other
        # content under an old name is another teacher.
        content = hash_bundle(arrays.bundle, arrays.names, root / "digests.json")
        fingerprint = artifacts.fingerprint(
            {
                "what": "arrays",
                "version": _VERSION,
                "content": content,
                "weights": None if given is None else checksum(given),
                "join": hashlib.blake2b(positions.tobytes(), digest_size=16).hexdigest(),
            }
        )

        @functools.cache
        def output_weights() -> np.ndarray:
            return weights.find(arrays, positions[dataset.train])

        return Teacher(
            fingerprint=fingerprint,
            dims=arrays.embeddings.shape[1],
            outputs=dataset.num_classes,
            answers=lambda index: arrays.answers(positions[index]),
            class_logits=lambda index: arrays.logits[positions[index]],
            output_weights=output_weights,
            answers_test=bool((positions[dataset.test] >= 0).all()),
            hint=f"fix {arrays.bundle.location}",
            network=None,
        )

    def _join(self, number: int, dataset: Dataset) -> tuple[Imported, np.ndarray]:
        """Opens a teacher's arrays and matches their rows with those of the data.

        Returns:
            The arrays, and for each row of the data its position in them, or -1 without one.

        Raises:
            UserError: The file cannot be used, or it lacks a training or validation row.
        """
        location = self.files[number]
        bundle = open_bundle(location, f"config.teacher.files[{number}]")
        arrays = imported.read(bundle)
        if self.output_weights:
            path = self.output_weights[number]
            key = f"config.teacher.output_weights[{number}]"
            values = imported.check_output_weights(
                _read_weights_file(path, key),
                path,
                arrays.embeddings.shape[1],
                arrays.logits.shape[1],
            )
            arrays = dataclasses.replace(arrays, output_weights=values)
        if arrays.logits.shape[1] != dataset.num_classes:
            raise UserError(
                f"{location} has {arrays.logits.shape[1]} classes, the data {dataset.num_classes} "
                f"({', '.join(dataset.class_names)}); give a teacher of these classes"
            )
        alignment.refuse_other_classes(bundle, dataset)
        positions = self._match_rows(bundle, len(arrays.embeddings), dataset)
        alignment.refuse_other_texts(bundle, positions, dataset)
        for name, rows in (("training", dataset.train), ("validation", dataset.validation)):
            missing = positions[rows] < 0
            if missing.any():
                row = rows[int(np.argmax(missing))]
                known = "" if dataset.ids is None else f" (id {str(dataset.ids[row])!r})"
                raise UserError(
                    f"{location} has no outputs for {missing.sum()} of {len(rows)} {name} rows, "
                    f"such as data row {row}{known}; run the teacher on all training and "
                    "validation rows"
                )
        return arrays, positions

    def _match_rows(self, bundle: Bundle, rows: int, dataset: Dataset) -> np.ndarray:
        """Finds the position in a file of each row of the data, or -1, [data rows].

        Ids are preferred to order, since a file whose rows are shuffled has the right shape, too.
        """
        total = len(dataset.labels)
        by_id = bool(self.id) and self.id in bundle
        if self.id not in ("", _ID) and not by_id:
            raise UserError(
                f"{bundle.location} has no array {self.id!r} (config.teacher.id); it holds "
                f"{', '.join(bundle.names())}"
            )
        if by_id and dataset.ids is None:
            raise UserError(
                f"{bundle.location} has ids, but the data have none; name their id column with "
                "--config.data.id=COLUMN (key 'ids' in .npz data), or match rows by order with "
                "--config.teacher.id="
            )
        if by_id:
            raw = np.asarray(bundle.array(self.id)[:])
            if raw.shape != (rows,):
                raise UserError(
                    f"{bundle.location}: {self.id} have shape {raw.shape}; save one id per row, "
                    f"shape {(rows,)}"
                )
            names = identity.read(raw, self.id, lambda row: bundle.place(self.id, row))
            assert dataset.ids is not None
            identity.refuse_twice(dataset.ids, "id", lambda row: f"data row {row}")
            identity.refuse_other_spelling(dataset.ids, names, bundle.location)
            return identity.find_positions(dataset.ids, names)
        # Test rows may be missing if they come last, that is, if they were read from a separate
        # file. Test rows that were split off at random are spread over the whole order.
        without_test = total - len(dataset.test)
        last = np.array_equal(dataset.test, np.arange(without_test, total))
        allowed = {total, without_test} if last else {total}
        if rows not in allowed:
            counts = " or ".join(f"{count:,}" for count in sorted(allowed))
            raise UserError(
                f"{bundle.location} has {rows:,} rows, the data {counts}; matching by order needs "
                "equal numbers: save the outputs for every row, or match by id (config.teacher.id)"
            )
        return np.where(np.arange(total) < rows, np.arange(total), -1)


def _drop_partial_test_rows(arrays: Imported, positions: np.ndarray, dataset: Dataset) -> None:
    """Sets the positions of all test rows to -1 unless the teacher has every one of them.

    Metrics over a part of the test rows could not be compared with those of the students.

    Raises:
        UserError: A test row's logits are not finite.
    """
    present = positions[dataset.test] >= 0
    if present.all():
        # Read only to check them: the report would otherwise fail on them after all the training.
        _ = arrays.logits[positions[dataset.test]]
    else:
        positions[dataset.test] = -1
        _LOG.info(
            "%s: no outputs for %s test rows; the teacher's test metrics stay empty",
            arrays.bundle.location,
            f"{(~present).sum()} of {len(present)}" if present.any() else "the",
        )


def _read_weights_file(path: str, key: str) -> np.ndarray:
    try:
        with open(objects.local_path(path), "rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"{path}: not a readable .npy file ({reason}); check {key}") from error
