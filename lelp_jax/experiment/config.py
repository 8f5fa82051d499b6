"""The config of an experiment: built once from the ConfigDict, checked, frozen, passed on in parts.

The dataclasses here and those of the sources and networks that they name are the reference of
config files: `--help=config.KEY` shows their types, defaults and docstrings.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from lelp_jax import inputs, methods, teachers
from lelp_jax.bank.stage import BankConfig
from lelp_jax.core import metrics, search_space
from lelp_jax.core.constraints import (
    AT_LEAST_ONE,
    LIMIT,
    NON_NEGATIVE,
    POSITIVE,
    PROPER_SHARE,
    SEED,
    SHARES_OF_ALL,
    OneOf,
)
from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.core.fields import Named
from lelp_jax.core.sections import build, call_with_place, check_value, read_section
from lelp_jax.data import SOURCES as DATA_SOURCES
from lelp_jax.data import Source, Split
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment import student_network
from lelp_jax.inputs import View
from lelp_jax.methods.base import Method
from lelp_jax.teachers.encoder import Encoders
from lelp_jax.train.config import TrainConfig

TRIALS = Annotated[int, NON_NEGATIVE]
# Trials are drawn from a list of all combinations.
_MOST_COMBINATIONS = 10_000_000


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data: their source, how they are split, and how much of them a student sees.

    The other keys of the section are those of the source.

    Attributes:
        source: Where the data come from.
        split: Shares of training, validation and test rows, for the splits that the source does not
            have itself.
        split_seed: Seed of the split only, so that it stays fixed while `config.seed` changes.
        transfer_size: Number of training rows that a student sees; 0 shows all of them.
        labelled_rows: Number of training rows that keep their label, drawn by class in proportion
            and anew for each teacher; 0 keeps all. Of all other training rows, teachers,
            projections and students know the inputs alone. The students of replicate r know the
            labels that their teacher r mod count knows, so as many teachers as replicates have
            them drawn anew for each replicate.
    """

    source: Source
    split: Annotated[
        tuple[Annotated[float, POSITIVE], Annotated[float, POSITIVE], Annotated[float, POSITIVE]],
        SHARES_OF_ALL,
    ] = (0.6, 0.2, 0.2)
    split_seed: Annotated[int, SEED] = 0
    transfer_size: Annotated[int, NON_NEGATIVE] = 0
    labelled_rows: Annotated[int, NON_NEGATIVE] = 0

    @property
    def splitting(self) -> Split:
        """How the rows are split."""
        return Split(self.split, self.split_seed)


def _features() -> Mapping[str, Any]:
    return {"name": "features"}


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """The students: their network, their inputs and their training.

    Attributes:
        model: The network: a family with its sizes, "teacher_layers" for every k-th layer of the
            teacher, or "pretrained" for a smaller checkpoint.
        train: Training. The learning rate and weight decay are hyperparameters of each method.
        inputs: What the students see of each row.
        input_noise: Standard deviation of the Gaussian noise that is added to the preprocessed
            inputs anew in every training step; 0 adds none.
        teacher_outputs: "bank" uses the teacher's outputs for the clean rows, computed once;
            "online" evaluates the frozen teacher in every step on the inputs that the student
            sees, noise and augmentation included.
    """

    model: Annotated[Mapping[str, Any], student_network.SECTION]
    train: TrainConfig
    inputs: Annotated[Mapping[str, Any], inputs.SECTION] = dataclasses.field(
        default_factory=_features
    )
    input_noise: Annotated[float, NON_NEGATIVE] = 0.0
    teacher_outputs: Literal["bank", "online"] = "bank"


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """A method in a comparison.

    Attributes:
        method: The method.
        trials: How many combinations of hyperparameters it may try.
        values: The values to try for each hyperparameter.
    """

    method: Method
    trials: int
    values: Mapping[str, tuple[search_space.Value, ...]]


@dataclasses.dataclass(frozen=True)
class PublishedConfig:
    """Published values that the report shows beside those of this run.

    Attributes:
        source: Where they are published, such as a paper and the number of its table.
        teacher: The teacher's value; 0 where it is not published.
        methods: The value of each method. Values are of `config.report.selection_metric` on test
            rows, in the unit of the report's table: shares, such as the accuracy, in percent.
    """

    source: str = ""
    teacher: Annotated[float, NON_NEGATIVE] = 0.0
    methods: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        checked = {}
        for name, value in self.methods.items():
            if name not in methods.list_names():
                raise make_unknown_name_error("method", name, methods.METHODS)
            checked[name] = check_value(value, Annotated[float, NON_NEGATIVE], f"methods.{name}")
        if not self.source and (checked or self.teacher):
            raise UserError("source is empty; say where the values are published")
        object.__setattr__(self, "methods", types.MappingProxyType(checked))


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """The comparison of the methods.

    Attributes:
        baseline: The method that the others are compared with.
        selection_metric: The validation metric that chooses each method's hyperparameters.
        confidence: Coverage of the intervals.
        published: Published values to show beside those of this run.
    """

    baseline: str
    selection_metric: Annotated[str, OneOf(metrics.METRICS)] = "accuracy"
    confidence: Annotated[float, PROPER_SHARE] = 0.95
    published: PublishedConfig = dataclasses.field(default_factory=PublishedConfig)


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints during training.

    Attributes:
        every_seconds: Time between checkpoints; 0 saves one after every dispatch.
    """

    every_seconds: Annotated[float, LIMIT] = 60.0


@dataclasses.dataclass(frozen=True)
class Config:
    """An experiment: one teacher's knowledge distilled by several methods, and their comparison.

    Attributes:
        seed: Root of all random choices except the split of the data.
        replicates: Number of students per method and combination of hyperparameters. Each has its
            own transfer set, projection, initialisation and example order, and the teachers take
            turns.
        data: The data.
        teacher: The teachers.
        bank: Where and how the teachers' outputs are stored.
        student: The students.
        methods: The methods compared, each with `trials` and the values of its hyperparameters to
            try: a tuple of values, or a single one.
        report: The comparison.
        checkpoint: Checkpoints during training.
    """

    seed: Annotated[int, SEED]
    replicates: Annotated[int, AT_LEAST_ONE]
    data: Annotated[DataConfig, Named("source", DATA_SOURCES)]
    teacher: Annotated[teachers.TeacherSource, Named("source", teachers.SOURCES)]
    bank: BankConfig
    student: StudentConfig
    methods: Mapping[str, MethodConfig]
    report: ReportConfig
    checkpoint: CheckpointConfig

    @functools.cached_property
    def view(self) -> View:
        """What students see of the rows; tokens without a checkpoint are the teacher's.

        Raises:
            UserError: There is no checkpoint, or the network takes other inputs.
        """
        return _build_view(self.student, self.teacher)


def from_config_dict(raw: Mapping[str, Any]) -> Config:
    """Builds the frozen config.

    Args:
        raw: The result of a config file's `get_config`, with overrides applied.

    Raises:
        UserError: A key is unknown or missing, or a value is not allowed.
    """
    config = build(Config, raw, "config")
    # So far only known to be a section: its keys follow from the methods, not from a class.
    config = dataclasses.replace(config, methods=_build_methods(config.methods))
    # Computed now, so that an error is found before the data are read.
    _ = config.view
    if config.report.baseline not in config.methods:
        raise make_unknown_name_error(
            "baseline config.report.baseline", config.report.baseline, config.methods
        )
    return config


def resolve_steps(config: Config, dataset: Dataset) -> Config:
    """Converts the length of every training into steps.

    Args:
        config: The config.
        dataset: Its data.

    Raises:
        UserError: A training has fewer steps than evaluations.
    """
    seen = config.data.transfer_size or len(dataset.train)
    train = call_with_place("config.student.train", config.student.train.resolve_steps, seen)
    return dataclasses.replace(
        config,
        student=dataclasses.replace(config.student, train=train),
        teacher=config.teacher.resolve_steps(dataset),
    )


def _build_view(student: StudentConfig, teacher: teachers.TeacherSource) -> View:
    place, values = "config.student.inputs", dict(student.inputs)
    if values["name"] == "tokens" and not values.get("checkpoint"):
        if student.model["name"] == "pretrained":
            values["checkpoint"] = student.model["checkpoint"]
        elif isinstance(teacher, Encoders):
            values["checkpoint"] = teacher.checkpoint
        else:
            raise UserError(
                f"{place}.checkpoint is empty, and the teacher has none; name the checkpoint whose "
                "tokenizer to use, or set config.student.inputs.name to 'words'"
            )
    view = inputs.build(values, place)
    student_network.check(student.model, view.kind)
    if student.input_noise and view.kind == "tokens":
        raise UserError(
            f"config.student.input_noise is {student.input_noise}, but the students see tokens, to "
            "which no noise can be added; set it to 0"
        )
    return view


def _build_methods(compared: Mapping[str, Any]) -> dict[str, MethodConfig]:
    for name in compared:
        methods.find(name)
    result = {}
    # In the registry's order: a ConfigDict keeps none.
    for name in [name for name in methods.list_names() if name in compared]:
        place = f"config.methods.{name}"
        method, values = methods.find(name), read_section(compared[name], place)
        trials = check_value(values.pop("trials", 1), TRIALS, f"{place}.trials")
        checked = search_space.check(name, values, method.search_space)
        combinations = math.prod(len(tried) for tried in checked.values())
        if combinations > _MOST_COMBINATIONS:
            raise UserError(
                f"{place} has {combinations:,} combinations of values, more than "
                f"{_MOST_COMBINATIONS:,} to draw trials from; give fewer values"
            )
        if trials:
            result[name] = MethodConfig(method, trials, checked)
    if not result:
        raise UserError("config.methods names no method with trials above 0")
    return result
