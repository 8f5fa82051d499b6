"""Sections of a config against the types that they become."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest

from lelp_jax.core.constraints import (
    AT_LEAST_ONE,
    DISTINCT,
    LIMIT,
    NUM_CLASSES,
    POSITIVE,
    SHARE,
    SHARES_OF_ALL,
    NonEmpty,
    OneOf,
    Only,
    Range,
)
from lelp_jax.core.errors import UserError
from lelp_jax.core.fields import Named, describe, read_fields, read_meanings
from lelp_jax.core.sections import build, check_value

Balanced = tuple[Literal["balanced"]] | tuple[Annotated[int | float, POSITIVE], ...]
HUGE = 10**400


@pytest.mark.parametrize(
    ("ends", "low", "high"),
    [("[]", True, True), ("[)", True, False), ("(]", False, True), ("()", False, False)],
)
def test_the_ends_of_a_range(ends: str, low: bool, high: bool) -> None:
    given = Range(1, 2, ends)
    assert (given.allows(1), given.allows(2)) == (low, high)
    assert given.allows(1.5)
    assert not any(map(given.allows, (0.9, 2.1, math.nan, math.inf, -math.inf, HUGE, -HUGE)))


def test_infinity_belongs_to_a_range_that_is_closed_there() -> None:
    assert LIMIT.allows(math.inf)
    assert not POSITIVE.allows(math.inf)
    # No float can hold it, so it is as good as infinite.
    assert not POSITIVE.allows(HUGE)


ALLOWED = [
    (int, 3, 3),
    (float, 3, 3.0),
    (Annotated[float, SHARE], 0, 0.0),
    (str, "", ""),
    (bool, False, False),
    (Any, None, None),
    (Literal["mean", "cls"], "cls", "cls"),
    (tuple[int, ...], 3, (3,)),
    (tuple[int, ...], [1, 2], (1, 2)),
    (tuple[int, ...], (), ()),
    (tuple[Any, ...], ("a", 1), ("a", 1)),
    (Annotated[tuple[float, float], SHARES_OF_ALL], (0.25, 0.75), (0.25, 0.75)),
    (Annotated[int, NUM_CLASSES], 0, 0),
    (Annotated[str, OneOf({"a": 1})], "a", "a"),
    (Annotated[float, Only(1.0, "as it is")], 1, 1.0),
    (Balanced, "balanced", ("balanced",)),
    (Balanced, (1, 2.0), (1, 2.0)),
    (Balanced, (), ()),
]


@pytest.mark.parametrize(("kind", "value", "expected"), ALLOWED)
def test_values_that_are_allowed(kind: Any, value: Any, expected: Any) -> None:
    found = check_value(value, kind, "key")
    assert found == expected
    assert type(found) is type(expected)
    if isinstance(found, tuple):
        assert [type(entry) for entry in found] == [type(entry) for entry in expected]


REFUSED = [
    (int, True, "key must be a whole number, got True"),
    (int, 1.0, "key must be a whole number, got 1.0"),
    (float, True, "key must be a number, got True"),
    (float, HUGE, "key must be a number, but it is too large"),
    (bool, 1, "key must be True or False, got 1"),
    (Annotated[float, POSITIVE], 0, "key must be a number above 0, got 0"),
    (Annotated[float, SHARE], "x", "key must be a number in [0, 1), got 'x'"),
    (Annotated[int, AT_LEAST_ONE], 0, "key must be a whole number of 1 or more, got 0"),
    (Annotated[int, NUM_CLASSES], 1, "key must be a whole number of 2 or more, or 0, got 1"),
    (
        Literal["mean", "cls"],
        "maen",
        "must be 'mean' or 'cls', got 'maen'; did you mean 'mean'",
    ),
    # 1 == True, and it is no choice all the same.
    (Literal[1], True, "key must be 1, got True"),
    (Annotated[str, OneOf(["kd"])], "kdd", "key must be 'kd', got 'kdd'; did you mean 'kd'?"),
    (tuple[int, ...], (1, "2"), "key[1] must be a whole number, got '2'"),
    (tuple[int, ...], "2", "key must be a whole number, got '2'"),
    (tuple[int, ...], None, "key must be a tuple, each a whole number, got None"),
    (tuple[int, int], (1,), "key must be 2 values, each a whole number, got (1,)"),
    (Annotated[tuple[int, ...], DISTINCT], (1, 2, 1), "key holds 1 twice; leave one out"),
    (
        Annotated[tuple[float, float], SHARES_OF_ALL],
        (0.5, 0.25),
        "key must sum to 1, got (0.5, 0.25)",
    ),
    (Annotated[str, NonEmpty("a file")], "", "key is empty; give a file"),
    (Annotated[float, Only(1.0, "as it is")], 2, "key must be 1.0, as it is, got 2"),
    (Balanced, ("balanced", 1), "key must be 'balanced' or a tuple, each a number above 0, got"),
    (Balanced, (1.0, math.inf), "each a number above 0, got (1.0, inf)"),
    (Balanced, (True,), "each a number above 0, got (True,)"),
    (Mapping[str, Any], 3, "key must be a section of keys and values, got 3"),
]


@pytest.mark.parametrize(("kind", "value", "message"), REFUSED)
def test_values_that_are_refused(kind: Any, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check_value(value, kind, "key")


@dataclasses.dataclass(frozen=True)
class Circle:
    """A circle.

    Attributes:
        radius: Its radius, in
            metres.
    """

    radius: Annotated[float, POSITIVE]


@dataclasses.dataclass(frozen=True)
class Ring(Circle):
    """A ring.

    Attributes:
        width: How wide.

    It is round.
    """

    width: Annotated[float, POSITIVE] = 1.0

    def __post_init__(self) -> None:
        if self.width > self.radius:
            raise UserError("width exceeds radius")


SHAPES = {"circle": Circle, "ring": Ring}


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A drawing.

    Attributes:
        shape: What is drawn.
        colour: Its colour.
    """

    shape: Any
    colour: str = "red"


def test_docstrings_tell_what_fields_mean() -> None:
    assert read_meanings(Ring) == {"radius": "Its radius, in metres.", "width": "How wide."}
    assert read_fields(Ring)["width"].default == 1.0
    assert read_fields(Ring)["radius"].default is dataclasses.MISSING
    assert set(read_fields(Ring, frozenset({"width"}))) == {"radius"}


def test_a_section_becomes_what_its_type_says() -> None:
    named = Named("shape", SHAPES)
    section = {"shape": "ring", "radius": 2, "width": 1.5}
    assert check_value(section, Annotated[Any, named], "key") == Ring(2.0, 1.5)
    kept = check_value(section, Annotated[Mapping[str, Any], named], "key")
    assert dict(kept) == section
    # As written: the fingerprints of artifacts depend on it.
    assert isinstance(kept["radius"], int)
    drawing = check_value({**section, "colour": "blue"}, Annotated[Drawing, named], "key")
    assert drawing == Drawing(Ring(2.0, 1.5), "blue")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"shape": "rings"},
            "key.shape must be 'circle' or 'ring', got 'rings'; did you",
        ),
        ({"shape": "circle"}, "unknown key of key: 'width'; known: colour, radius"),
        ({"radius": -1}, "key.radius must be a number above 0, got -1"),
        ({"radius": 1}, "key: width exceeds radius"),
    ],
)
def test_what_a_section_can_get_wrong(changes: dict, message: str) -> None:
    section = {"shape": "ring", "radius": 2, "width": 1.5, **changes}
    with pytest.raises(UserError, match=re.escape(message)):
        check_value(section, Annotated[Drawing, Named("shape", SHAPES)], "key")


def test_a_key_that_is_missing() -> None:
    with pytest.raises(UserError, match=r"key\.radius is missing; it must be a number above 0"):
        build(Ring, {"width": 1.0}, "key")


def test_a_registry_may_grow() -> None:
    shapes: dict[str, type] = {}
    kind = Annotated[Any, Named("shape", shapes)]
    shapes["circle"] = Circle
    assert check_value({"shape": "circle", "radius": 1}, kind, "key") == Circle(1.0)


def test_types_in_words() -> None:
    assert describe(Annotated[int, Range(2, 10, "[]")]) == "a whole number in [2, 10]"
    assert describe(Annotated[float, LIMIT]) == "a number of 0 or more, or inf"
    assert describe(Annotated[str, NonEmpty("a file")]) == "text (a file)"
    assert describe(Circle) == describe(Annotated[Any, Named("shape", SHAPES)]) == "a section"
