"""Training state and parameters on disk; the only file that knows Orbax."""

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
_KEEP = 2


class Checkpoints:
    """The latest training states of one fleet.

    A save in progress has a temporary name, so a killed run leaves the states before it intact.
    Saving waits until the state is on disk: the training step that follows takes over the buffers.
    For each state a file in a folder beside keeps the SHA-256 of its files: Orbax reads a flipped
    bit without a word.
    """

    def __init__(self, folder: Path):
        """Opens the folder, made when it is not there, and clears what a killed save left."""
        self._folder = folder
        # Beside the states, not among them: that folder is Orbax's to list and to clear.
        self._sums = folder.with_name("checkpoint_checksums")
        self._sums.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(
                max_to_keep=_KEEP, cleanup_tmp_directories=True, enable_async_checkpointing=False
            ),
        )

    def save(self, step: int, state: Any, facts: Mapping[str, Any]) -> None:
        """Keeps a state and a few JSON-like facts; if the step is already saved, nothing happens.

        Args:
            step: Steps done.
            state: Pytree of arrays.
            facts: What else a resumed run needs.
        """
        with files.storage(self._folder, _size(state)):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), facts=ocp.args.JsonSave(dict(facts))
                ),
            )
            files.write_json(self._checksums(step), files.hash_folder(self._folder / str(step)))
        kept = {self._checksums(number) for number in self._manager.all_steps()}
        for stale in set(self._sums.glob("*.json")) - kept:
            stale.unlink()

    def restore(self, abstract: Any) -> tuple[int, Any, Mapping[str, Any]] | None:
        """Reads step, state and facts of the newest state that is as it was written.

        A damaged state is reported, removed and passed over for the one before it.

        Args:
            abstract: Pytree of `jax.ShapeDtypeStruct` with shardings.

        Returns:
            None where there is no such state.
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
                        # Reads of the other arrays are still under way.
                        time.sleep(_SECONDS_FOR_READS)
                    gc.collect()
            _LOG.warning(
                "checkpoint %s cannot be used (%s); resuming from the one before it",
                self._folder / str(step),
                reason,
            )
            shutil.rmtree(self._folder / str(step), ignore_errors=True)
            self._checksums(step).unlink(missing_ok=True)
            self._manager.reload()
        return None

    def _checksums(self, step: int) -> Path:
        return self._sums / f"{step}.json"

    def _find_damage(self, step: int) -> str:
        """Says what is wrong with the files of a state; "" where nothing is.

        A state without checksums is left to Orbax: a run may be killed before they are written.
        """
        path = self._checksums(step)
        if not path.exists():
            return ""
        try:
            wanted = json.loads(path.read_bytes())
            found = files.hash_folder(self._folder / str(step))
        except (OSError, ValueError) as error:
            return " ".join(str(error).split())[:80]
        changed = sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))
        return f"{changed[0]} is not as it was written" if changed else ""

    def close(self) -> None:
        """Releases the manager's threads."""
        self._manager.close()


@contextlib.contextmanager
def silence_orbax_tasks() -> Iterator[None]:
    """Silences what the tasks of a failed restore print when they are thrown away.

    The error itself is raised; each of its sibling tasks would add a traceback of its own.
    """
    hook, log = sys.unraisablehook, logging.getLogger("asyncio")
    sys.unraisablehook = lambda _: None
    log.disabled = True
    try:
        yield
    finally:
        sys.unraisablehook, log.disabled = hook, False


def save_tree(folder: Path, tree: Any) -> None:
    """Writes a pytree of arrays into a folder, replacing what is there."""
    with files.storage(folder, _size(tree)), ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), tree, force=True)


def load_tree(folder: Path, abstract: Any) -> Any:
    """Reads a pytree of arrays.

    Args:
        folder: As given to `save_tree`.
        abstract: Pytree of `jax.ShapeDtypeStruct`; without shardings the arrays lie on the first
            device.
    """
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or device),
        abstract,
    )
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(folder.absolute(), abstract)


def _size(tree: Any) -> int:
    """Returns the bytes of all arrays."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
