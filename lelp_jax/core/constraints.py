"""The constraints that a type may carry, with their words for messages: `Annotated[float, SHARE]`.

`core.sections` checks values against such types, and `--help=KEY` and the documentation describe
them; so each range, choice and message is written once, at the field that it concerns.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Collection, Iterable
from typing import Any


class Constraint:
    """Narrows the values of a type."""

    def allows(self, value: Any) -> bool:
        """Tells whether a value of the type is allowed."""
        raise NotImplementedError

    def describe(self, kind: str) -> str:
        """Describes the values that are left.

        Args:
            kind: What the type itself allows ("a number").
        """
        raise NotImplementedError

    def refuse(self, value: Any, kind: str) -> str:
        """Says what is wrong with a value, in words that follow the key's name.

        Args:
            value: A value that is not allowed.
            kind: What the type itself allows.
        """
        return f"must be {self.describe(kind)}, got {value!r}"


@dataclasses.dataclass(frozen=True)
class Range(Constraint):
    """Numbers of an interval; never NaN, as it compares with nothing.

    Attributes:
        low: The lower end.
        high: The upper end.
        ends: Whether the ends belong to it, "[]", "[)", "(]" or "()". Infinity is a number like any
            other, so `Range(0, math.inf, "[)")` holds the finite ones.
        also: A single number that is allowed besides.
    """

    low: float
    high: float = math.inf
    ends: str = "[)"
    also: float | None = None

    def allows(self, value: Any) -> bool:
        """Tells whether a number is in the interval."""
        try:
            number = float(value)
        except OverflowError:  # A whole number that no float can hold.
            number = math.inf if value > 0 else -math.inf
        above = number >= self.low if self.ends[0] == "[" else number > self.low
        below = number <= self.high if self.ends[1] == "]" else number < self.high
        return (above and below) or number == self.also

    def describe(self, kind: str) -> str:
        """Describes the interval: "a number above 0", "a number in [0, 1)"."""
        if self.high < math.inf:
            text = f"{kind} in {self.ends[0]}{self.low}, {self.high}{self.ends[1]}"
        elif self.ends[0] == "(":
            text = f"{kind} above {self.low}"
        else:
            text = f"{kind} of {self.low} or more"
        if self.high == math.inf and self.ends[1] == "]":
            text += ", or inf"
        return text if self.also is None else f"{text}, or {self.also}"


@dataclasses.dataclass(frozen=True)
class OneOf(Constraint):
    """The names in a registry, which may still grow.

    Attributes:
        names: The registry.
    """

    names: Collection[str]

    def allows(self, value: Any) -> bool:
        """Tells whether the registry has a name."""
        return value in self.names

    def describe(self, kind: str) -> str:
        """Lists the names."""
        del kind
        return list_choices(self.names)

    def refuse(self, value: Any, kind: str) -> str:
        """Names the nearest name, too."""
        return f"{super().refuse(value, kind)}{suggest(value, self.names)}"


@dataclasses.dataclass(frozen=True)
class NonEmpty(Constraint):
    """A text or a tuple that has to be given.

    Attributes:
        what: What it holds, for messages ("an .npz file"); "" where its type says enough.
    """

    what: str = ""

    def allows(self, value: Any) -> bool:
        """Tells whether it was given."""
        return bool(value)

    def describe(self, kind: str) -> str:
        """Says what it holds."""
        return f"{kind} ({self.what})" if self.what else f"{kind}, not empty"

    def refuse(self, value: Any, kind: str) -> str:
        """Asks for it."""
        del value, kind
        return f"is empty; give {self.what or 'at least one value'}"


@dataclasses.dataclass(frozen=True)
class Distinct(Constraint):
    """A tuple that holds nothing twice."""

    def allows(self, value: Any) -> bool:
        """Tells whether all of its values differ."""
        return len(set(map(repr, value))) == len(value)

    def describe(self, kind: str) -> str:
        """Describes such tuples."""
        return f"{kind}, all different"

    def refuse(self, value: Any, kind: str) -> str:
        """Names the first value that is there twice."""
        del kind
        shown = [repr(entry) for entry in value]
        twice = next(entry for entry in shown if shown.count(entry) > 1)
        return f"holds {twice} twice; leave one out"


@dataclasses.dataclass(frozen=True)
class SumsTo(Constraint):
    """A tuple of numbers with a given sum, up to rounding.

    Attributes:
        total: The sum.
    """

    total: float

    def allows(self, value: Any) -> bool:
        """Tells whether the numbers add up to it."""
        return abs(sum(value) - self.total) <= 1e-6

    def describe(self, kind: str) -> str:
        """Describes such tuples."""
        return f"{kind}, that sum to {self.total:g}"

    def refuse(self, value: Any, kind: str) -> str:
        """Tells the sum, too."""
        del kind
        return f"must sum to {self.total:g}, got {value} = {sum(value):g}"


@dataclasses.dataclass(frozen=True)
class Only(Constraint):
    """A single value.

    Attributes:
        value: The value.
        why: The reason, for messages ("as the split is hard").
    """

    value: bool | int | float | str
    why: str

    def allows(self, value: Any) -> bool:
        """Tells whether it is the value."""
        return bool(value == self.value)

    def describe(self, kind: str) -> str:
        """Names the value and the reason."""
        del kind
        return f"{self.value!r}, {self.why}"


POSITIVE = Range(0, ends="()")
NON_NEGATIVE = Range(0)
# For limits; infinity means no limit.
LIMIT = Range(0, ends="[]")
AT_LEAST_ONE = Range(1)
AT_LEAST_TWO = Range(2)
# A share of the whole: with neither end, without all, without nothing, with both.
PROPER_SHARE = Range(0, 1, "()")
SHARE = Range(0, 1, "[)")
POSITIVE_SHARE = Range(0, 1, "(]")
WHOLE_SHARE = Range(0, 1, "[]")
# Seeds are kept in 32 bits with a sign.
SEED = Range(0, 2**31 - 1, "[]")
# 0 counts the classes that the training rows show.
NUM_CLASSES = Range(2, also=0)
DISTINCT = Distinct()
SHARES_OF_ALL = SumsTo(1)


def list_choices(choices: Iterable[Any]) -> str:
    """Writes choices for a message: `'mean', 'cls' or 'pooler'`."""
    *others, last = map(repr, choices)
    return f"{', '.join(others)} or {last}" if others else last


def suggest(value: Any, choices: Iterable[Any]) -> str:
    """Writes the end of a message that names the nearest choice, "" where none is near."""
    near = difflib.get_close_matches(str(value), map(str, choices), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
