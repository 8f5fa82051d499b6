"""The frozen form of a config: built once from the ConfigDict, checked, and passed on in parts."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from lelp_jax import data, methods, metrics, models, settings
from lelp_jax.data import Source, Split
from lelp_jax.errors import UserError, unknown_name
from lelp_jax.methods.base import Method
from lelp_jax.train.optimizer import OptimizerConfig

Section = TypeVar("Section")


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
        if self.class_weights != ("balanced",) and any(
            isinstance(w, (str, bool)) or not w > 0 for w in self.class_weights
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
        if not self.learning_rate > 0:
            raise UserError(f"learning_rate must be above 0, got {self.learning_rate}")
        if not self.weight_decay >= 0:
            raise UserError(f"weight_decay must be 0 or more, got {self.weight_decay}")


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
    known = {"seed", "replicates", "data", "teacher", "student", "methods", "report", "checkpoint"}
    for key in sections:
        if key not in known:
            raise unknown_name("key config", key, known)
    for key in known:
        if key not in sections:
            raise UserError(f"config.{key} is missing")
    seed = _typed(sections["seed"], int, "config.seed")
    if not 0 <= seed < 2**31:
        raise UserError(f"config.seed must be in 0..{2**31 - 1}, got {seed}")
    replicates = _typed(sections["replicates"], int, "config.replicates")
    with_place("config.replicates", _at_least, "", replicates, 1)
    transfer_size, source, split = _data(dict(sections["data"]))
    teacher = _build(TeacherConfig, sections["teacher"], "config.teacher")
    student = _build(StudentConfig, sections["student"], "config.student")
    for place, model in (("teacher", teacher.model), ("student", student.model)):
        with_place(f"config.{place}.model", models.build, model, 2)
    compared = _methods(dict(sections["methods"]))
    report = _build(ReportConfig, sections["report"], "config.report")
    if report.baseline not in compared:
        raise unknown_name("baseline config.report.baseline", report.baseline, compared)
    checkpoint = _build(CheckpointConfig, sections["checkpoint"], "config.checkpoint")
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


def _data(section: dict[str, Any]) -> tuple[int, Source, Split]:
    name = section.pop("source", "")
    if name not in data.SOURCES:
        raise unknown_name("data source config.data.source", name, data.SOURCES)
    transfer_size = _typed(section.pop("transfer_size", 0), int, "config.data.transfer_size")
    with_place("config.data.transfer_size", _at_least, "", transfer_size, 0)
    fractions = section.pop("split", (0.6, 0.2, 0.2))
    seed = _typed(section.pop("split_seed", 0), int, "config.data.split_seed")
    place = "config.data.split"
    if len(fractions) != 3 or not all(isinstance(f, (int, float)) and f > 0 for f in fractions):
        raise UserError(
            f"{place} must hold three positive shares (training, validation, test), got {fractions}"
        )
    if abs(sum(fractions) - 1) > 1e-6:
        raise UserError(f"{place} must sum to 1, got {fractions} = {sum(fractions):g}")
    source: Source = _build(data.SOURCES[name], section, "config.data")
    return transfer_size, source, Split((fractions[0], fractions[1], fractions[2]), seed)


def _methods(section: Mapping[str, Any]) -> dict[str, MethodConfig]:
    for name in section:
        methods.find(name)
    result = {}
    # In the registry's order: a ConfigDict keeps none.
    for name in [name for name in methods.METHODS if name in section]:
        method, values = methods.find(name), dict(section[name])
        trials = _typed(values.pop("trials", 1), int, f"config.methods.{name}.trials")
        with_place(f"config.methods.{name}.trials", _at_least, "", trials, 0)
        checked = settings.check(name, values, method.settings)
        if trials:
            result[name] = MethodConfig(method, trials, checked)
    if not result:
        raise UserError("config.methods names no method with trials above 0")
    return result


def _build(cls: type[Section], section: Mapping[str, Any], place: str) -> Section:
    """Builds a frozen dataclass from a section, nested ones too."""
    if not hasattr(section, "items"):
        raise UserError(f"{place} must be a section, got {section!r}")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    kinds = typing.get_type_hints(cls)
    values = {}
    for key, value in section.items():
        if key not in fields:
            raise unknown_name(f"key {place}", key, fields)
        kind = kinds[key]
        if dataclasses.is_dataclass(kind):
            values[key] = _build(kind, value, f"{place}.{key}")  # type: ignore[arg-type]
        else:
            values[key] = _typed(value, kind, f"{place}.{key}")
    for key, field in fields.items():
        if key not in values and field.default is dataclasses.MISSING:
            raise UserError(f"{place}.{key} is missing")
    return with_place(place, cls, **values)


def _typed(value: Any, kind: Any, place: str) -> Any:
    """Returns the value as the type wanted; whole numbers may stand for real ones."""
    origin = typing.get_origin(kind)
    if origin is tuple:
        value = (value,) if isinstance(value, (str, int, float)) else value
        if not isinstance(value, (tuple, list)):
            raise UserError(f"{place} must be a tuple, got {value!r}")
        inner = typing.get_args(kind)[0]
        return tuple(value if inner is Any else [_typed(v, inner, place) for v in value])
    if origin is not None and issubclass(origin, Mapping):
        if not hasattr(value, "items"):
            raise UserError(f"{place} must be a section, got {value!r}")
        return types.MappingProxyType(
            {key: tuple(v) if isinstance(v, list) else v for key, v in value.items()}
        )
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{place} must be of type {kind.__name__}, got {value!r}")
    return value


def with_place(place: str, function: Any, *arguments: Any, **named: Any) -> Any:
    """Calls a function; a UserError it raises is given the place in front.

    Args:
        place: The part of the config that the call concerns.
        function: What to call.
        *arguments: Its arguments.
        **named: Its arguments by name.
    """
    try:
        return function(*arguments, **named)
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise UserError(f"{name} must be {least} or more, got {value}".strip())
