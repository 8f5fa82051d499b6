"""The log of training losses, exact across kills and resumes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lelp_jax.core import files


class CurveLog:
    """The file `metrics.jsonl`: training losses of every fleet, one line per stretch of steps."""

    def __init__(self, path: Path):
        """Opens the log; what a killed run wrote of a line is dropped when the file is cut."""
        self._path = path
        self._fleets = {line["fleet"] for line in self.read()}

    def read(self) -> list[dict[str, Any]]:
        """Returns all whole lines, in order."""
        try:
            text = self._path.read_text()
        except FileNotFoundError:
            return []
        lines = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return lines

    def cut(self, fleet: str, step: int) -> None:
        """Removes what was logged of a fleet beyond the step that it resumes from."""
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._fleets.add(fleet)
        if fleet in self._fleets:
            kept = [x for x in self.read() if x["fleet"] != fleet or x["step"] <= step]
            files.write_atomic(self._path, "".join(json.dumps(line) + "\n" for line in kept))

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Appends lines; they are in the file when this returns."""
        with open(self._path, "a") as file:
            file.write("".join(json.dumps(files.clean(line)) + "\n" for line in lines))
