"""Checks that config and data fit together, before anything is trained or written."""

from __future__ import annotations

import numpy as np

from lelp_jax.augmentation.config import check as check_augmentation
from lelp_jax.core import metrics
from lelp_jax.core.errors import UserError
from lelp_jax.core.sections import call_with_place
from lelp_jax.data.dataset import UNLABELLED, Dataset
from lelp_jax.experiment import student_network
from lelp_jax.experiment.config import Config
from lelp_jax.train import class_weights


def check(config: Config, dataset: Dataset, *, hidden: bool) -> None:
    """Checks that an experiment is possible with its data.

    Args:
        config: The experiment.
        dataset: The data as a teacher and its students know them.
        hidden: Whether labels of training rows were hidden from them.

    Raises:
        UserError: There are too few rows or class weights, a method needs labels that rows lack, or
            the teacher or the students need other inputs.
    """
    config.teacher.check(dataset)
    call_with_place("config.student", config.view.check, dataset)
    # The teacher may take hours to train, and only then are students built.
    student_network.check_checkpoint(config.student.model)
    _check_augmentation(config, dataset)
    if config.student.teacher_outputs == "online" and not config.teacher.answers_inputs:
        raise UserError(
            "config.student.teacher_outputs 'online' needs a teacher that is trained here "
            "(config.teacher.source 'network' or 'encoder'), as only the outputs of this one are "
            "known; use 'bank'"
        )
    weights = config.student.train.class_weights
    call_with_place("config.student.train", class_weights.weigh_classes, dataset, weights)
    _check_metrics(config, dataset)
    _check_sizes(config, dataset)
    _check_own_teachers(config)
    _check_baseline(config, dataset)
    _check_membership(config, dataset)
    _check_fine_labels(config, dataset, hidden)


def _check_augmentation(config: Config, dataset: Dataset) -> None:
    """Checks that images are changed for rows that are images, and that the teacher sees it."""
    shape = dataset.inputs.shape[1:] if dataset.of_images else ()
    for name, train in (("teacher", config.teacher.training), ("student", config.student.train)):
        if train is not None:
            place = f"config.{name}.train.augmentation"
            call_with_place(place, check_augmentation, train.augmentation, shape)
    augmentation, views = config.student.train.augmentation, config.bank.views
    if views and config.student.teacher_outputs == "online":
        raise UserError(
            f"config.bank.views is {views}, but with config.student.teacher_outputs 'online' no "
            "bank is read; set one of them back to 0 or 'bank'"
        )
    if views and not augmentation.changes_images:
        raise UserError(
            f"config.bank.views is {views}, but config.student.train.augmentation changes no "
            "image; set it, or views to 0"
        )
    if views and not config.teacher.answers_inputs:
        raise UserError(
            f"config.bank.views is {views}, but only the outputs of this teacher are known, not "
            "the teacher itself; set it to 0"
        )
    if config.student.teacher_outputs == "online":
        return
    if augmentation.mixes_images:
        raise UserError(
            "config.student.train.augmentation mixes images, for which no bank holds the teacher's "
            "outputs; set config.student.teacher_outputs to 'online'"
        )
    if augmentation.changes_images and not views:
        raise UserError(
            "config.student.train.augmentation changes images, but the bank holds the teacher's "
            "outputs for the original ones; set config.student.teacher_outputs to 'online', or "
            "config.bank.views to the number of changed images to store outputs for, such as 8"
        )


def _check_metrics(config: Config, dataset: Dataset) -> None:
    used = {"report.selection_metric": config.report.selection_metric}
    for name, train in (("student", config.student.train), ("teacher", config.teacher.training)):
        if train is not None:
            used[f"{name}.train.early_stopping.metric"] = train.early_stopping.metric
    for place, metric in used.items():
        if metric in metrics.TWO_CLASSES and dataset.num_classes != 2:
            raise UserError(
                f"config.{place} {metric!r} is defined for 2 classes, but the data have "
                f"{dataset.num_classes}; use accuracy or matthews"
            )
        # Without both classes it is not defined; it is measured on validation rows.
        labels = dataset.labels[dataset.validation]
        if metric in metrics.TWO_CLASSES and len(np.unique(labels)) < 2:
            missing = dataset.class_names[1 - int(labels[0])]
            raise UserError(
                f"config.{place} {metric!r} needs validation rows of both classes, but none is of "
                f"class {missing!r}; give other validation rows, or use accuracy"
            )


def _check_sizes(config: Config, dataset: Dataset) -> None:
    rows = len(dataset.train)
    if config.data.transfer_size > rows:
        raise UserError(
            f"config.data.transfer_size {config.data.transfer_size} exceeds the {rows} training "
            "rows; set it to 0 for all of them"
        )
    seen, wanted = config.data.transfer_size or rows, config.student.train.batch_size
    if wanted > seen:
        raise UserError(
            f"config.student.train.batch_size {wanted} exceeds the {seen} rows that a student may "
            "see (config.data.transfer_size); use a smaller batch_size"
        )


def _check_own_teachers(config: Config) -> None:
    for name, entry in config.methods.items():
        own = entry.method.teacher
        if own and not own.frozen_trunk and not config.teacher.answers_inputs:
            raise UserError(
                f"config.methods.{name} retrains the teacher, which is possible with "
                "config.teacher.source 'network' or 'encoder' only; use subclass_matched, which "
                f"keeps the teacher, or leave it out with --config.methods.{name}.trials=0"
            )


def _check_baseline(config: Config, dataset: Dataset) -> None:
    name = config.report.baseline
    verdict = config.methods[name].method.verdict(dataset.num_classes)
    if verdict and verdict.kind == "refused":
        raise UserError(f"config.report.baseline {name!r} cannot be trained: {verdict.note}")


def _check_membership(config: Config, dataset: Dataset) -> None:
    missing = len(dataset.train) - len(dataset.labelled_train)
    for name, entry in config.methods.items():
        if missing and "label" in entry.values.get("membership", ()):
            raise UserError(
                f"config.methods.{name}.membership 'label' needs labels, but {missing} of "
                f"{len(dataset.train)} training rows have none; use the teacher's predictions with "
                f"--config.methods.{name}.membership=teacher"
            )


def _check_fine_labels(config: Config, dataset: Dataset, hidden: bool) -> None:
    for name, entry in config.methods.items():
        projector = entry.method.projector
        if projector is None or not projector.needs_fine_labels:
            continue
        hint = f"leave it out with --config.methods.{name}.trials=0"
        if dataset.fine_labels is None:
            raise UserError(
                f"config.methods.{name} needs fine labels, which the data do not have; {hint}"
            )
        if hidden:
            raise UserError(
                f"config.methods.{name} needs the fine labels of all training rows, of which "
                f"config.data.labelled_rows {config.data.labelled_rows} hides most; {hint}"
            )
        rows = dataset.labelled_train
        known = dataset.labels[rows[dataset.fine_labels[rows] != UNLABELLED]]
        counts = np.bincount(known, minlength=dataset.num_classes)
        if (counts == 0).any():
            empty = dataset.class_names[int(np.argmin(counts))]
            raise UserError(
                f"config.methods.{name} needs fine labels, but no training row of class {empty!r} "
                f"has one; {hint}"
            )
