"""The frozen form of a config: built once from the ConfigDict, checked, and passed on in parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lelp_jax import data, methods, metrics, models, settings
from lelp_jax.data import Source, Split
from lelp_jax.errors import UserError, unknown_name
from lelp_jax.methods.base import Method
from lelp_jax.sections import build, section, typed
from lelp_jax.sections import with_place as with_place
from lelp_jax.train.optimizer import OptimizerConfig

TEACHER_SETTINGS = {
    "learning_rate": settings.LEARNING_RATE,
    "weight_decay": settings.WEIGHT_DECAY,
}
_SECTIONS = ("seed", "replicates", "data", "teacher", "student", "methods", "report", "checkpoint")
_LARGEST_SEED = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How a network is trained.

    Attributes:
        steps: Number of updates.
        batch_size: Examples per update.
        optimizer: The update rule.
        class_weights: Weight of each class in the loss; empty weighs all alike, ("balanced",)
            weighs each class by the inverse of its share of the training rows.
    """

    steps: int
    batch_size: int
    optimizer: OptimizerConfig
    class_weights: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        _at_least("steps", self.steps, 1)
        _at_least("batch_size", self.batch_size, 1)
        if self.class_weights != ("balanced",) and not all(
            settings.is_positive(weight) for weight in self.class_weights
        ):
            raise UserError(
                "class_weights must be empty, 'balanced' or one positive number per class, "
                f"got {self.class_weights}"
            )


@dataclasses.dataclass(frozen=True)
class TeacherConfig:
    """The teachers.

    Attributes:
        count: How many; replicate r learns from teacher r mod count.
        model: The network's family and settings.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay.
        train: How they are trained.
    """

    count: int
    model: Mapping[str, Any]
    learning_rate: float
    weight_decay: float
    train: TrainConfig

    def __post_init__(self) -> None:
        _at_least("count", self.count, 1)
        for name in ("learning_rate", "weight_decay"):
            setting, value = TEACHER_SETTINGS[name], getattr(self, name)
            if not setting.allows(value):
                raise UserError(f"{name} must be {setting.must}, got {value}")


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """The students.

    Attributes:
        model: The network's family and settings.
        train: How they are trained; learning rate and weight decay are settings of each method.
    """

    model: Mapping[str, Any]
    train: TrainConfig


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
    values: Mapping[str, tuple[settings.Value, ...]]


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
        teacher: The teachers.
        student: The students.
        methods: The methods compared, in the order of the report.
        report: The comparison.
        checkpoint: Checkpoints.
    """

    seed: int
    replicates: int
    transfer_size: int
    source: Source
    split: Split
    teacher: TeacherConfig
    student: StudentConfig
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
    teacher = build(TeacherConfig, sections["teacher"], "config.teacher")
    student = build(StudentConfig, sections["student"], "config.student")
    for place, model in (("teacher", teacher.model), ("student", student.model)):
        with_place(f"config.{place}.model", models.build, model, 2)
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
        student,
        compared,
        report,
        checkpoint,
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
    if len(fractions) != 3 or not all(map(settings.is_positive, fractions)):
        raise UserError(
            f"{place} must hold three positive shares (training, validation, test), got {fractions}"
        )
    if abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"{place} must sum to 1, got {fractions} = {sum(fractions):g}")
    source: Source = build(data.SOURCES[name], values, "config.data")
    return transfer_size, source, Split((fractions[0], fractions[1], fractions[2]), seed)


def _methods(compared: Mapping[str, Any]) -> dict[str, MethodConfig]:
    for name in compared:
        methods.find(name)
    result = {}
    # In the registry's order: a ConfigDict keeps none.
    for name in [name for name in methods.METHODS if name in compared]:
        method, values = methods.find(name), section(compared[name], f"config.methods.{name}")
        trials = typed(values.pop("trials", 1), int, f"config.methods.{name}.trials")
        with_place(f"config.methods.{name}.trials", _at_least, "", trials, 0)
        checked = settings.check(name, values, method.settings)
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
