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
from lelp_jax.core.errors import UserError

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

        Only a state whose files differ from their checksums is deleted. One that has no checksums
        and cannot be restored is set aside, in a folder beside the others. In both cases the one
        before it is tried, after a warning.

        Args:
            abstract: Pytree of `jax.ShapeDtypeStruct` with shardings.

        Returns:
            Step, state and facts; None if no undamaged state exists.

        Raises:
            OSError: A file cannot be read, which does not mean that it is damaged.
            UserError: A state cannot be restored although its files are those that were written.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            folder = self._folder / str(step)
            checksums = self._read_checksums(step)
            problem = "" if checksums is None else _find_damage(folder, checksums)
            if not problem:
                restored = self._restore(step, abstract)
                if not isinstance(restored, str):
                    return step, *restored
                problem = restored
                if checksums is not None:
                    raise UserError(
                        f"checkpoint {folder} is as it was written, but cannot be restored "
                        f"({problem}); delete {self._folder} to train from the beginning"
                    )
            _LOG.warning(
                "checkpoint %s cannot be used (%s); resuming from the one before it",
                folder,
                problem,
            )
            # Out of the way, so that the run can save this step again.
            if checksums is None:
                self._set_aside(folder)
            else:
                shutil.rmtree(folder)
                self._get_checksum_path(step).unlink()
            self._manager.reload()
        return None

    def _restore(self, step: int, abstract: Any) -> tuple[Any, Mapping[str, Any]] | str:
        """Restores the state and the facts of a step, or says why they cannot be restored."""
        items = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), facts=ocp.args.JsonRestore()
        )
        with _silence_orbax_tasks():
            try:
                result = self._manager.restore(step, args=items)
                return result["state"], result["facts"]
            except Exception as error:  # Orbax raises bare Exceptions for damaged files
                reason = " ".join(str(error).split())[:80]
                # Reads of the other arrays are still in progress; their errors should be collected
                # while they are silenced.
                time.sleep(_SECONDS_FOR_READS)
            gc.collect()
        return reason

    def _set_aside(self, folder: Path) -> None:
        aside = self._folder.with_name("checkpoints_set_aside")
        aside.mkdir(exist_ok=True)
        shutil.rmtree(aside / folder.name, ignore_errors=True)
        folder.rename(aside / folder.name)

    def _get_checksum_path(self, step: int) -> Path:
        return self._sums / f"{step}.json"

    def _read_checksums(self, step: int) -> Mapping[str, str] | None:
        """Reads the checksums of a state; None if there are none, or none that can be read.

        A run may be killed before they are written, and Orbax finds most kinds of damage itself.
        """
        try:
            content = json.loads(self._get_checksum_path(step).read_bytes())
        except (*files.LOST, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def close(self) -> None:
        """Releases the manager's threads."""
        self._manager.close()


def _find_damage(folder: Path, checksums: Mapping[str, str]) -> str:
    """Describes how the files of a state differ from their checksums; "" if they match."""
    actual = files.hash_folder(folder)
    names = sorted({*checksums, *actual})
    changed = [name for name in names if checksums.get(name) != actual.get(name)]
    return f"{changed[0]} has changed since it was written" if changed else ""


@contextlib.contextmanager
def _silence_orbax_tasks() -> Iterator[None]:
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
