"""Overrides of config values, `--config.KEY=VALUE`, checked before they are applied."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.core.fields import describe

_FLAG = re.compile(r"--?(no)?config\.(?P<key>[^=]*)(=(?P<value>.*))?", re.DOTALL)
_PARSERS: dict[type, flags.ArgumentParser] = {
    bool: flags.BooleanParser(),
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
}


def normalize(config: ConfigDict, arguments: Sequence[str]) -> list[str]:
    """Checks overrides and brings each into the form `--config.KEY=VALUE`.

    A tuple may be given as bare words, `--config.data.columns=age,income`.

    Args:
        config: The config that is overridden.
        arguments: The command line without the program's name.

    Raises:
        UserError: The config has no such key, or its value is of another type.
    """
    result = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        match = _FLAG.fullmatch(argument)
        if match is None:
            result.append(argument)
            continue
        key, text = match["key"], match["value"]
        current = _find(config, key)
        if argument.startswith(("--no", "-no")):
            if not isinstance(current, bool):
                raise UserError(f"{argument} works for booleans only; use --config.{key}=VALUE")
            text = "false"
        elif text is None and isinstance(current, bool):
            text = "true"
        elif text is None:
            if not waiting or waiting[0].startswith("--"):
                raise UserError(f"{argument} has no value; write {argument}=VALUE")
            text = waiting.pop(0)
        result.append(f"--config.{key}={_rewrite_value(current, key, text)}")
    return result


def _find(config: ConfigDict, key: str) -> Any:
    """Finds the value of a config under a dotted key."""
    place, value = "config", config
    for name in key.split("."):
        if not isinstance(value, ConfigDict):
            raise UserError(f"{place} is a value, not a section: it has no key {name!r}")
        if name not in value:
            raise make_unknown_name_error(f"key of {place}", name, value)
        value = value[name]
        place = f"{place}.{name}"
    return value


def _rewrite_value(current: Any, key: str, text: str) -> str:
    """Checks the text of a value and rewrites bare words as a tuple."""
    if type(current) in _PARSERS:
        kind = type(current)
        try:
            _PARSERS[kind].parse(text)
        except (ValueError, TypeError):
            raise UserError(f"config.{key} must be {describe(kind)}, got {text!r}") from None
    elif isinstance(current, ConfigDict):
        if not isinstance(_parse_literal(text), dict):
            known = ", ".join(sorted(current))
            raise UserError(
                f"config.{key} is a section, got {text!r}; set one of its keys: {known}"
            )
    elif isinstance(current, (tuple, list)) and _parse_literal(text) is None:
        words = text.strip("()[] ").split(",")
        return repr(tuple(word.strip() for word in words if word.strip()))
    return text


def _parse_literal(text: str) -> Any:
    """Parses a Python literal; None if the text is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
