"""The log of training losses, without gaps or duplicates after kills and resumes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lelp_jax.core import files

_FILE = "curves.jsonl"


class CurveLog:
    """Training losses in a file of JSON lines, one line per dispatch of several steps.

    Every fleet has a log in its folder, which is a part of its artifact. The workdir's
    `metrics.jsonl` receives the same lines during a run and is rewritten from the fleets' logs at
    the end, so that it also contains the fleets that were reused.
    """

    def __init__(self, path: Path, follower: CurveLog | None = None):
        """Opens a log.

        Args:
            path: The file; it need not exist. A last line that a killed run left incomplete is
                dropped at the first `cut`.
            follower: Another log that repeats every change.
        """
        self._path, self._follower = path, follower
        # Fleets that had lines when the log was opened: `cut` rewrites the file for these only.
        self._fleets = {line["fleet"] for line in self.read()}

    def open_for_fleet(self, folder: Path) -> CurveLog:
        """Opens the log in a fleet's folder, with this log as its follower."""
        return CurveLog(folder / _FILE, self)

    def read(self) -> list[dict[str, Any]]:
        """Reads all complete lines, in order."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        lines = []
        for line in content.splitlines():
            # Lines that are incomplete or damaged are skipped: a log of losses is for information
            # and not worth ending a run for.
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and {"fleet", "step"} <= entry.keys():
                    lines.append(entry)
        return lines

    def cut(self, fleet: str, step: int) -> None:
        """Removes the lines of a fleet beyond the step that it resumes from.

        The run repeats these steps after the checkpoint and logs them again.
        """
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            self._fleets.add(fleet)
        if fleet in self._fleets:
            self._replace(x for x in self.read() if x["fleet"] != fleet or x["step"] <= step)
        if self._follower is not None:
            self._follower.cut(fleet, step)

    def write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Appends lines; they are in the file when the call returns."""
        # Opened for every call, so that a killed process leaves no lines in a buffer.
        with open(self._path, "a") as file:
            file.write("".join(json.dumps(files.clean(line)) + "\n" for line in lines))
        if self._follower is not None:
            self._follower.write(lines)

    def publish(self, folders: Iterable[Path]) -> None:
        """Rewrites this log from those of fleets.

        Args:
            folders: The folders of the fleets, in the order of the lines.
        """
        self._replace(line for folder in dict.fromkeys(folders) for line in read_curves(folder))

    def _replace(self, lines: Iterable[Mapping[str, Any]]) -> None:
        content = "".join(json.dumps(files.clean(line)) + "\n" for line in lines)
        files.write_atomic(self._path, content)


def read_curves(folder: Path) -> list[dict[str, Any]]:
    """Reads the log of one fleet.

    Args:
        folder: The fleet's folder.
    """
    return CurveLog(folder / _FILE).read()
