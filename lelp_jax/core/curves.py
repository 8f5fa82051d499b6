"""The log of training losses, exact across kills and resumes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lelp_jax.core import files

_FILE = "curves.jsonl"


class CurveLog:
    """Training losses in a file of JSON lines, one line per stretch of steps.

    Every fleet keeps its own in its folder, as a part of its artifact. The workdir's
    `metrics.jsonl` follows them while a run goes on, and is written anew from them at its end.
    """

    def __init__(self, path: Path, follower: CurveLog | None = None):
        """Opens a log; the rest of a line that a killed run left is dropped at the first cut.

        Args:
            path: The file; it need not exist.
            follower: Another log to which everything is done, too.
        """
        self._path, self._follower = path, follower
        self._fleets = {line["fleet"] for line in self.read()}

    def of_fleet(self, folder: Path) -> CurveLog:
        """Opens the log in a fleet's folder, with this one as its follower."""
        return CurveLog(folder / _FILE, self)

    def read(self) -> list[dict[str, Any]]:
        """Reads all whole lines, in order."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        lines = []
        for line in content.splitlines():
            # Of a line that is cut or damaged nothing is known; JSON that is no object is damage.
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and {"fleet", "step"} <= entry.keys():
                    lines.append(entry)
        return lines

    def cut(self, fleet: str, step: int) -> None:
        """Removes what was logged of a fleet beyond the step that it resumes from."""
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._fleets.add(fleet)
        if fleet in self._fleets:
            self._replace(x for x in self.read() if x["fleet"] != fleet or x["step"] <= step)
        if self._follower is not None:
            self._follower.cut(fleet, step)

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Appends lines; they are in the file when this returns."""
        with open(self._path, "a") as file:
            file.write("".join(json.dumps(files.clean(line)) + "\n" for line in lines))
        if self._follower is not None:
            self._follower.write(lines)

    def publish(self, folders: Iterable[Path]) -> None:
        """Writes this log anew from those of fleets.

        Args:
            folders: The folders of the fleets, in the order wanted.
        """
        self._replace(line for folder in dict.fromkeys(folders) for line in read_curves(folder))

    def adopt(self, folder: Path) -> None:
        """Gives a fleet that has no log of its own the lines that this one holds of it."""
        own = CurveLog(folder / _FILE)
        if not own._path.exists():
            own._replace(line for line in self.read() if line["fleet"] == folder.name)

    def _replace(self, lines: Iterable[Mapping[str, Any]]) -> None:
        content = "".join(json.dumps(files.clean(line)) + "\n" for line in lines)
        files.write_atomic(self._path, content)


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """Reads the log of one fleet.

    Args:
        folder: The fleet's folder.
    """
    return CurveLog(folder / _FILE).read()
