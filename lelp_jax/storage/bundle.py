"""Named arrays of rows in one file or folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from lelp_jax.core.errors import UserError, make_unknown_name_error
from lelp_jax.storage.rows import RowArray

# What opens each array, called with the name of the array for messages.
Openers: TypeAlias = Mapping[str, Callable[[str], RowArray]]


class Bundle:
    """Named arrays of rows.

    Attributes:
        location: The file, folder or address that holds them.
    """

    def __init__(self, location: str, openers: Openers):
        self.location = location
        self._openers = openers

    def names(self) -> list[str]:
        """Lists the names of the arrays, sorted."""
        return sorted(self._openers)

    def __contains__(self, name: object) -> bool:
        """Checks whether there is an array of this name."""
        return name in self._openers

    def array(self, name: str) -> RowArray:
        """Opens an array; its rows are read when they are asked for.

        Raises:
            UserError: There is no such array, or it is damaged or holds no rows.
        """
        if name not in self._openers:
            raise make_unknown_name_error(f"array of {self.location}", name, self._openers)
        where = self._where(name)
        array = self._openers[name](where)
        if not array.shape:
            raise UserError(f"{where} is a single value; an array of rows is needed")
        if not len(array):
            raise UserError(f"{where} has no rows; write it again")
        return array

    def place(self, name: str, row: int) -> str:
        """Names a row of an array for messages, counted from 0."""
        return f"{self._where(name)}, row {row}"

    def _where(self, name: str) -> str:
        return f"{self.location}, array {name!r}"
