"""The frozen form of a config: built once from the ConfigDict, checked, and passed on in parts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from lelp_jax import data, inputs, methods, teachers
from lelp_jax.bank.stage import BankConfig
from lelp_jax.core import metrics, search_space
from lelp_jax.core.errors import UserError, unknown_name
from lelp_jax.core.sections import build, section, typed
from lelp_jax.core.sections import with_place as with_place
from lelp_jax.data import Source, Split
from lelp_jax.data.dataset import Dataset
from lelp_jax.experiment import student_network as student_model
from lelp_jax.inputs import View
from lelp_jax.methods.base import Method
from lelp_jax.teachers.encoder import Encoders
from lelp_jax.train.config import TrainConfig

_SECTIONS = (
    "seed",
    "replicates",
    "data",
    "teacher",
    "bank",
    "student",
    "methods",
    "report",
    "checkpoint",
)
_LARGEST_SEED = 2**31 - 1
# Trials are drawn from a list of them all.
_MOST_COMBINATIONS = 10_000_000
_TEACHER_OUTPUTS = ("bank", "online")


def _numbers() -> Mapping[str, Any]:
    return {"name": "features"}


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """The students.

    Attributes:
        model: The network's family and settings, or "teacher_layers", every k-th layer of the
            teacher.
        train: How they are trained; learning rate and weight decay are settings of each method.
        inputs: What the students see of the rows: the view's name and settings.
        input_noise: Standard deviation of the Gaussian noise added to every input in every training
            step, in units of the preprocessed inputs; 0 adds none.
        teacher_outputs: "bank" teaches the teacher's answers for the rows as they are, computed
            once; "online" asks the frozen teacher in every step for the very inputs that the
            student sees.
    """

    model: Mapping[str, Any]
    train: TrainConfig
    inputs: Mapping[str, Any] = dataclasses.field(default_factory=_numbers)
    input_noise: float = 0.0
    teacher_outputs: str = "bank"

    def __post_init__(self) -> None:
        if not (search_space.is_number(self.input_noise) and self.input_noise >= 0):
            raise UserError(f"input_noise must be a number of 0 or more, got {self.input_noise}")
        if self.teacher_outputs not in _TEACHER_OUTPUTS:
            raise UserError(
                f"teacher_outputs must be {' or '.join(map(repr, _TEACHER_OUTPUTS))}, "
                f"got {self.teacher_outputs!r}"
            )


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """A method in a comparison.

    Attributes:
        method: The method.
        trials: How many settings it may try.
        values: The values to try for each setting.
    """

    method: Method
    trials: int
    values: Mapping[str, tuple[search_space.Value, ...]]


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """The comparison at the end.

    Attributes:
        baseline: The method to which the others are compared.
        selection_metric: The validation metric that chooses each method's settings.
        confidence: Coverage of the intervals, in (0, 1).
    """

    baseline: str
    selection_metric: str = "accuracy"
    confidence: float = 0.95

    def __post_init__(self) -> None:
        metrics.direction(self.selection_metric)
        if not 0 < self.confidence < 1:
            raise UserError(f"confidence must be in (0, 1), got {self.confidence}")


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Checkpoints of fleets in training.

    Attributes:
        every_seconds: Time between checkpoints; 0 saves after every dispatch.
    """

    every_seconds: float = 60.0

    def __post_init__(self) -> None:
        if not self.every_seconds >= 0:
            raise UserError(f"every_seconds must be 0 or more, got {self.every_seconds}")


@dataclasses.dataclass(frozen=True)
class Config:
    """One experiment.

    Attributes:
        seed: Root of all random choices, but for the split of the data.
        replicates: Students per setting; each differs in transfer set, projection, initialisation,
            example order and, in turn, teacher.
        transfer_size: How many training rows a student may see; 0 shows all.
        source: Where the data come from.
        split: How they are split.
        teacher: Where the teachers come from.
        bank: Where and how their answers are kept.
        student: The students.
        view: What they see of the rows.
        methods: The methods compared, in the order of the report.
        report: The comparison.
        checkpoint: Checkpoints.
    """

    seed: int
    replicates: int
    transfer_size: int
    source: Source
    split: Split
    teacher: teachers.TeacherSource
    bank: BankConfig
    student: StudentConfig
    view: View
    methods: Mapping[str, MethodConfig]
    report: ReportConfig
    checkpoint: CheckpointConfig


def from_config_dict(raw: Mapping[str, Any]) -> Config:
    """Builds the frozen config.

    Args:
        raw: What a config file's `get_config` returned, with overrides applied.

    Raises:
        UserError: A key is unknown or missing, or a value is out of range.
    """
    sections = dict(raw)
    for key in sections:
        if key not in _SECTIONS:
            raise unknown_name("key of config", key, _SECTIONS)
    for key in _SECTIONS:
        if key not in sections:
            raise UserError(f"config.{key} is missing; the files in configs/ show how to set it")
    seed = _seed(sections["seed"], "config.seed")
    replicates = typed(sections["replicates"], int, "config.replicates")
    with_place("config.replicates", _at_least, "", replicates, 1)
    transfer_size, source, split = _data(section(sections["data"], "config.data"))
    teacher = _teacher(section(sections["teacher"], "config.teacher"))
    bank = build(BankConfig, sections["bank"], "config.bank")
    student = build(StudentConfig, sections["student"], "config.student")
    view = _view(student, teacher)
    compared = _methods(section(sections["methods"], "config.methods"))
    report = build(ReportConfig, sections["report"], "config.report")
    if report.baseline not in compared:
        raise unknown_name("baseline config.report.baseline", report.baseline, compared)
    checkpoint = build(CheckpointConfig, sections["checkpoint"], "config.checkpoint")
    return Config(
        seed,
        replicates,
        transfer_size,
        source,
        split,
        teacher,
        bank,
        student,
        view,
        compared,
        report,
        checkpoint,
    )


def in_steps(config: Config, dataset: Dataset) -> Config:
    """Returns a config with the length of every training in steps.

    Args:
        config: The config.
        dataset: Its data.

    Raises:
        UserError: A training is too short for its evaluations.
    """
    seen = config.transfer_size or len(dataset.train)
    train = with_place("config.student.train", config.student.train.resolve_steps, seen)
    return dataclasses.replace(
        config,
        student=dataclasses.replace(config.student, train=train),
        teacher=config.teacher.in_steps(dataset),
    )


def _data(values: dict[str, Any]) -> tuple[int, Source, Split]:
    name = typed(values.pop("source", ""), str, "config.data.source")
    if name not in data.SOURCES:
        raise unknown_name("data source config.data.source", name, data.SOURCES)
    transfer_size = typed(values.pop("transfer_size", 0), int, "config.data.transfer_size")
    with_place("config.data.transfer_size", _at_least, "", transfer_size, 0)
    seed = _seed(values.pop("split_seed", 0), "config.data.split_seed")
    place = "config.data.split"
    fractions = typed(values.pop("split", (0.6, 0.2, 0.2)), tuple[Any, ...], place)
    if len(fractions) != 3 or not all(map(search_space.is_positive, fractions)):
        raise UserError(
            f"{place} must hold three positive shares (training, validation, test), got {fractions}"
        )
    if abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"{place} must sum to 1, got {fractions} = {sum(fractions):g}")
    source: Source = build(data.SOURCES[name], values, "config.data")
    return transfer_size, source, Split((fractions[0], fractions[1], fractions[2]), seed)


def _teacher(values: dict[str, Any]) -> teachers.TeacherSource:
    name = typed(values.pop("source", ""), str, "config.teacher.source")
    if name not in teachers.SOURCES:
        raise unknown_name("teacher source config.teacher.source", name, teachers.SOURCES)
    source: teachers.TeacherSource = build(teachers.SOURCES[name], values, "config.teacher")
    return source


def _view(student: StudentConfig, teacher: teachers.TeacherSource) -> View:
    """Returns what students see; where tokens name no checkpoint, they are the teacher's."""
    place, values = "config.student.inputs", dict(student.inputs)
    if values.get("name") == "tokens" and not values.get("checkpoint"):
        if student.model.get("name") == "pretrained":
            values["checkpoint"] = student.model.get("checkpoint", "")
        elif isinstance(teacher, Encoders):
            values["checkpoint"] = teacher.checkpoint
        else:
            raise UserError(
                f"{place}.checkpoint is empty, and the teacher has none; name a checkpoint whose "
                "tokenizer to take, or take the inputs 'words'"
            )
    view = inputs.build(values, place)
    with_place("config.student.model", student_model.check, student.model, of_tokens=view.of_tokens)
    if student.input_noise and view.of_tokens:
        raise UserError(
            "config.student.input_noise is for numbers, but the students see tokens; set it to 0"
        )
    return view


def _methods(compared: Mapping[str, Any]) -> dict[str, MethodConfig]:
    for name in compared:
        methods.find(name)
    result = {}
    # In the registry's order: a ConfigDict keeps none.
    for name in [name for name in methods.METHODS if name in compared]:
        method, values = methods.find(name), section(compared[name], f"config.methods.{name}")
        trials = typed(values.pop("trials", 1), int, f"config.methods.{name}.trials")
        with_place(f"config.methods.{name}.trials", _at_least, "", trials, 0)
        checked = search_space.check(name, values, method.search_space)
        combinations = math.prod(len(tried) for tried in checked.values())
        if combinations > _MOST_COMBINATIONS:
            raise UserError(
                f"config.methods.{name} has {combinations:,} combinations of values, more than "
                f"{_MOST_COMBINATIONS:,} to draw trials from; give fewer values"
            )
        if trials:
            result[name] = MethodConfig(method, trials, checked)
    if not result:
        raise UserError("config.methods names no method with trials above 0")
    return result


def _seed(value: Any, place: str) -> int:
    if not 0 <= typed(value, int, place) <= _LARGEST_SEED:
        raise UserError(f"{place} must be in 0..{_LARGEST_SEED}, got {value}")
    return value


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{name} must be {least} or more, got {value}".strip())
