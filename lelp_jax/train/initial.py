"""Parameters that a network starts from instead of fresh ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp


def replace(fresh: Mapping[str, Any], initial: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns fresh parameters with those at the paths of `initial` replaced.

    Args:
        fresh: Nested dict of arrays.
        initial: A part of such a dict, with arrays of the same shapes; they take the type of those
            they replace.

    Raises:
        ValueError: A path is not one of a fresh parameter, or shapes differ.
    """
    return _replace(fresh, initial, ())


def _replace(fresh: Any, initial: Any, path: tuple[str, ...]) -> Any:
    place = "/".join(path)
    if isinstance(fresh, Mapping) != isinstance(initial, Mapping):
        kinds = [
            "a group" if isinstance(tree, Mapping) else "an array" for tree in (fresh, initial)
        ]
        raise ValueError(
            f"parameter {place!r} is {kinds[0]} of the network, but given as {kinds[1]}"
        )
    if isinstance(fresh, Mapping):
        unknown = sorted(set(initial) - set(fresh))
        if unknown:
            raise ValueError(
                f"no parameter {'/'.join((*path, unknown[0]))!r} in the network; "
                f"known there: {', '.join(sorted(fresh))}"
            )
        return {
            key: _replace(value, initial[key], (*path, key)) if key in initial else value
            for key, value in fresh.items()
        }
    if fresh.shape != initial.shape:
        raise ValueError(
            f"parameter {place!r} has shape {fresh.shape} in the network, but {initial.shape} is "
            "given"
        )
    return jnp.asarray(initial, fresh.dtype)
