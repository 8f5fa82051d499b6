"""Overrides of a config's values, `--config.KEY=VALUE`, checked before they are applied."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lelp_jax.core.errors import UserError, unknown_name

_FLAG = re.compile(r"--?(no)?config\.(?P<key>[^=]*)(=(?P<value>.*))?", re.DOTALL)
_PARSERS: dict[type, tuple[flags.ArgumentParser, str]] = {
    bool: (flags.BooleanParser(), "true or false"),
    int: (flags.IntegerParser(), "a whole number"),
    float: (flags.FloatParser(), "a number"),
}


def checked(config: ConfigDict, arguments: Sequence[str]) -> list[str]:
    """Returns the arguments with every override in the form `--config.KEY=VALUE`.

    A tuple may be given as bare words, `--config.data.columns=age,income`.

    Args:
        config: The config whose values are overridden.
        arguments: The command line without the program's name.

    Raises:
        UserError: The config has no such key, or its value cannot be of that kind.
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
                raise UserError(
                    f"{argument}: config.{key} is no switch; set it with --config.{key}="
                )
            text = "false"
        elif text is None and isinstance(current, bool):
            text = "true"
        elif text is None:
            if not waiting or waiting[0].startswith("--"):
                raise UserError(f"{argument} has no value; write {argument}=VALUE")
            text = waiting.pop(0)
        result.append(f"--config.{key}={_as_flag(current, key, text)}")
    return result


def _find(config: ConfigDict, key: str) -> Any:
    """Returns the value that a config has under a dotted key."""
    place, value = "config", config
    for name in key.split("."):
        if not isinstance(value, ConfigDict):
            raise UserError(f"{place} is a value, not a section: it has no key {name!r}")
        if name not in value:
            raise unknown_name(f"key of {place}", name, value)
        value = value[name]
        place = f"{place}.{name}"
    return value


def _as_flag(current: Any, key: str, text: str) -> str:
    """Returns the text to be parsed in place of what the user wrote."""
    if type(current) in _PARSERS:
        parser, kind = _PARSERS[type(current)]
        try:
            parser.parse(text)
        except (ValueError, TypeError):
            raise UserError(f"config.{key} must be {kind}, got {text!r}") from None
    elif isinstance(current, ConfigDict):
        if not isinstance(_literal(text), dict):
            known = ", ".join(sorted(current))
            raise UserError(
                f"config.{key} is a section, got {text!r}; set one of its keys: {known}"
            )
    elif isinstance(current, (tuple, list)) and _literal(text) is None:
        words = text.strip("()[] ").split(",")
        return repr(tuple(word.strip() for word in words if word.strip()))
    return text


def _literal(text: str) -> Any:
    """Returns the value of a Python literal, or None where the text is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
