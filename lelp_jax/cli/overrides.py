"""Overrides of config values, `--config.KEY=VALUE`, checked before they are applied."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.core.fields import describe

_FLAG = re.compile(r"--?(no)?config\.(?P<key>[^=]*)(=(?P<value>.*))?", re.DOTALL)
# Those that read the values later: what is refused there is told here, with the key.
_PARSERS: dict[type, flags.ArgumentParser] = {
    bool: flags.BooleanParser(),
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
}
_BRACKETS = {"(": ")", "[": "]"}


def normalize(
    config: ConfigDict, arguments: Sequence[str], holds_texts: Callable[[str], bool]
) -> list[str]:
    """Checks overrides and brings each into the form `--config.KEY=VALUE`.

    A tuple may be given as bare words, `--config.data.columns=age,income`. Where the key holds
    texts, a bare word is a text even if it looks like a number: `--config.data.columns=0,1e3`.

    Args:
        config: The config that is overridden.
        arguments: The command line without the program's name.
        holds_texts: Tells whether a key ("data.columns") takes a tuple of texts. The config alone
            does not say so where the tuple is empty.

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
        if isinstance(current, (tuple, list)):
            text = _rewrite_tuple(text, functools.partial(holds_texts, key))
        else:
            _check_value(current, key, text)
        result.append(f"--config.{key}={text}")
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


def _check_value(current: Any, key: str, text: str) -> None:
    """Checks the text of a value that is no tuple."""
    if type(current) in _PARSERS:
        kind = type(current)
        try:
            _PARSERS[kind].parse(text)
        except (ValueError, TypeError):
            raise UserError(f"config.{key} must be {describe(kind)}, got {text!r}") from None
    elif isinstance(current, ConfigDict) and not isinstance(_parse_literal(text), dict):
        known = ", ".join(sorted(current))
        raise UserError(f"config.{key} is a section, got {text!r}; set one of its keys: {known}")


def _rewrite_tuple(text: str, holds_texts: Callable[[], bool]) -> str:
    """Rewrites bare words as a tuple; what is a literal of the right type already is kept."""
    literal = _parse_literal(text)
    entries = literal if isinstance(literal, (tuple, list)) else (literal,)
    if all(isinstance(entry, str) for entry in entries):
        return repr(tuple(entries))
    if literal is not None and not holds_texts():
        return text
    words = (word.strip() for word in _remove_brackets(text).split(","))
    return repr(tuple(word for word in words if word))


def _remove_brackets(text: str) -> str:
    """Removes the brackets around a whole text; those of `(a),b(c)` belong to its words."""
    text = text.strip()
    if text[:1] not in _BRACKETS or text[-1] != _BRACKETS[text[0]]:
        return text
    opening, closing = text[0], text[-1]
    depth = 0
    for position, character in enumerate(text):
        depth += (character == opening) - (character == closing)
        if not depth and position < len(text) - 1:
            return text
    return text[1:-1]


def _parse_literal(text: str) -> Any:
    """Parses a Python literal; None if the text is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
