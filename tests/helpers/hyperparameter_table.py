"""The README's table of hyperparameters; `make tables` rewrites it there."""

import re

from lelp_jax.core.constraints import Only
from lelp_jax.core.fields import describe, split_marks
from lelp_jax.core.search_space import Hyperparameter
from lelp_jax.methods import METHODS
from tests.helpers.paths import ROOT

README = ROOT / "README.md"
HEADER = "| hyperparameter | meaning | allowed | methods |\n| --- | --- | --- | --- |\n"
# The methods of a group that do not take a hyperparameter are named if they are so few.
_FEW = 3


def write() -> str:
    """Returns the table, with a row per hyperparameter in the order of the methods."""
    found: dict[str, Hyperparameter] = {}
    for method in METHODS.values():
        for name, entry in method.search_space.items():
            # Some methods pin one to a single value; the others say what it may be.
            if name not in found or is_pinned(found[name]):
                found[name] = entry
    rows = []
    for name, entry in found.items():
        cells = f"`{name}`", entry.meaning.removesuffix("."), describe(entry.kind), takers(name)
        rows.append(f"| {' | '.join(cells)} |\n")
    return HEADER + "".join(rows)


def is_pinned(entry: Hyperparameter) -> bool:
    return any(isinstance(mark, Only) for mark in split_marks(entry.kind)[1])


def takers(hyperparameter: str) -> str:
    """Returns the methods that take a hyperparameter."""
    names = [name for name, method in METHODS.items() if hyperparameter in method.search_space]
    splits = [name for name, method in METHODS.items() if method.projector]
    for text, group in (("all", list(METHODS)), ("all that split classes", splits)):
        others = [name for name in group if name not in names]
        if len(others) <= _FEW:
            outside = [f"`{name}`" for name in names if name not in group]
            exceptions = ", ".join(f"`{name}`" for name in others)
            return ", ".join([*outside, f"{text} but {exceptions}" if others else text])
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    text = README.read_text()
    old = re.compile(re.escape(HEADER) + r"(\|.*\n)*")
    assert len(old.findall(text)) == 1, "the README has no such table, or several"
    README.write_text(old.sub(lambda _: write(), text))
