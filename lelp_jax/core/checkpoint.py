"""Training states and parameters on disk; the only module that uses Orbax."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from lelp_jax.core import files

_SECONDS_FOR_READS = 1.0
_LOG = logging.getLogger(__name__)
# The latest state, and one to fall back to if it is damaged.
_KEEP = 2


class Checkpoints:
    """The latest training states of one fleet.

    A state is saved under a temporary name and then renamed, so a killed run leaves the earlier
    states intact. Saving blocks until the state is on disk, because the next training step donates
    the buffers and overwrites them. The SHA-256 of a state's files are stored in another folder and
    checked before the state is restored: Orbax reads a file with a flipped bit without an error,
    and training would silently resume from wrong parameters.
    """

    def __init__(self, folder: Path):
        """Opens or creates the folder and removes temporary files of a killed save."""
        self._folder = folder
        # Not in the folder of the states, which Orbax lists and cleans up.
        self._sums = folder.with_name("checkpoint_checksums")
        self._sums.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=_KEEP, cleanup_tmp_directories=True, enable_async_checkpointing=False
            ),
        )

    def save(self, step: int, state: Any, facts: Mapping[str, Any]) -> None:
        """Saves a state with JSON-like facts; if the step is already saved, nothing happens.

        Args:
            step: Number of steps trained.
            state: Pytree of arrays.
            facts: What else a resumed run needs.
        """
        with files.convert_storage_errors(self._folder, _count_bytes(state)):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), facts=ocp.args.JsonSave(dict(facts))
                ),
            )
            checksums = files.hash_folder(self._folder / str(step))
            files.write_json(self._get_checksum_path(step), checksums)
        kept = {self._get_checksum_path(number) for number in self._manager.all_steps()}
        for stale in set(self._sums.glob("*.json")) - kept:
            stale.unlink()

    def restore(self, abstract: Any) -> tuple[int, Any, Mapping[str, Any]] | None:
        """Restores step, state and facts of the newest undamaged state.

        A damaged state is logged and removed, and the one before it is tried.

        Args:
            abstract: Pytree of `jax.ShapeDtypeStruct` with shardings.

        Returns:
            Step, state and facts; None if no undamaged state exists.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            reason = self._find_damage(step)
            if not reason:
                with silence_orbax_tasks():
                    try:
                        result = self._manager.restore(
                            step,
                            args=ocp.args.Composite(
                                state=ocp.args.StandardRestore(abstract),
                                facts=ocp.args.JsonRestore(),
                            ),
                        )
                        return step, result["state"], result["facts"]
                    except Exception as error:  # Orbax raises bare Exceptions for damaged files
                        reason = " ".join(str(error).split())[:80]
                        # Reads of the other arrays are still in progress; their errors should be
                        # collected while they are silenced.
                        time.sleep(_SECONDS_FOR_READS)
                    gc.collect()
            _LOG.warning(
                "checkpoint %s cannot be used (%s); resuming from the one before it",
                self._folder / str(step),
                reason,
            )
            # Removed, so that the run can save this step again.
            shutil.rmtree(self._folder / str(step), ignore_errors=True)
            self._get_checksum_path(step).unlink(missing_ok=True)
            self._manager.reload()
        return None

    def _get_checksum_path(self, step: int) -> Path:
        return self._sums / f"{step}.json"

    def _find_damage(self, step: int) -> str:
        """Describes how the files of a state differ from their checksums; "" if they match.

        A state without checksums counts as undamaged, since a run may be killed before they are
        written; Orbax then finds most kinds of damage itself.
        """
        path = self._get_checksum_path(step)
        if not path.exists():
            return ""
        try:
            expected = json.loads(path.read_bytes())
            actual = files.hash_folder(self._folder / str(step))
        except (OSError, ValueError) as error:
            return " ".join(str(error).split())[:80]
        names = {*expected, *actual}
        changed = sorted(name for name in names if expected.get(name) != actual.get(name))
        return f"{changed[0]} has changed since it was written" if changed else ""

    def close(self) -> None:
        """Releases the manager's threads."""
        self._manager.close()


@contextlib.contextmanager
def silence_orbax_tasks() -> Iterator[None]:
    """Silences the tasks of a failed restore when they are garbage-collected.

    The error itself is raised; without this, each of the sibling tasks prints another traceback.
    """
    hook, log = sys.unraisablehook, logging.getLogger("asyncio")
    sys.unraisablehook = lambda _: None
    log.disabled = True
    try:
        yield
    finally:
        sys.unraisablehook, log.disabled = hook, False


def save_tree(folder: Path, tree: Any) -> None:
    """Writes a pytree of arrays to a folder, replacing its content."""
    with (
        files.convert_storage_errors(folder, _count_bytes(tree)),
        ocp.StandardCheckpointer() as checkpointer,
    ):
        checkpointer.save(folder.absolute(), tree, force=True)


def load_tree(folder: Path, abstract: Any) -> Any:
    """Reads a pytree of arrays.

    Args:
        folder: The folder that `save_tree` wrote.
        abstract: Pytree of `jax.ShapeDtypeStruct`; arrays without sharding are placed on the first
            device.
    """
    # Without explicit shardings, Orbax restores those of the run that saved, whose devices may not
    # exist here.
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or device),
        abstract,
    )
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute(), abstract)


def _count_bytes(tree: Any) -> int:
    """Counts the bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
