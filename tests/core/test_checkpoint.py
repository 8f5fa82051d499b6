"""Checkpoints: exact, two kept, and a damaged one is passed over for the one before it."""

import logging
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lelp_jax.core.checkpoint import Checkpoints, load_tree, save_tree
from tests.helpers import stored


def state(step: int) -> dict:
    key = jax.random.fold_in(jax.random.key(0), step)
    return {
        "params": jax.random.normal(key, (3, 4)),
        "count": jnp.full((3,), step, jnp.int32),
        "diverged": jnp.array([True, False, False]),
    }


def abstract() -> dict:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state(0)
    )


def same(left: dict, right: dict) -> bool:
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (10, 20, 30):
        checkpoints.save(step, state(step), {"seconds": float(step)})
    checkpoints.close()
    return tmp_path / "checkpoints"


def test_the_latest_state_comes_back_bit_by_bit_and_two_are_kept(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["20", "30"]
    sums = folder.with_name("checkpoint_checksums")
    assert sorted(path.name for path in sums.iterdir()) == ["20.json", "30.json"]
    step, restored, facts = Checkpoints(folder).restore(abstract())
    assert (step, facts) == (30, {"seconds": 30.0})
    assert same(restored, state(30))


def test_an_empty_folder_has_no_state(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "none").restore(abstract()) is None


def truncate(step: Path) -> None:
    largest = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def empty(step: Path) -> None:
    shutil.rmtree(step)
    step.mkdir()


def drop_state(step: Path) -> None:
    shutil.rmtree(step / "state")


def flip(step: Path) -> None:
    """Flips a bit that Orbax reads without a word."""
    largest = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    stored.flip(largest, largest.stat().st_size // 2)


def flip_checksums(step: Path) -> None:
    stored.flip(step.parents[1] / "checkpoint_checksums" / f"{step.name}.json", 20)


def swap(step: Path) -> None:
    shutil.rmtree(step)
    shutil.copytree(step.with_name("20"), step)


@pytest.mark.parametrize("damage", [truncate, empty, drop_state, flip, flip_checksums, swap])
def test_a_damaged_latest_state_is_passed_over_with_a_warning(
    folder: Path, damage, caplog: pytest.LogCaptureFixture
) -> None:
    damage(folder / "30")
    with caplog.at_level(logging.WARNING, "lelp_jax.core.checkpoint"):
        logging.getLogger("lelp_jax").propagate = True
        step, restored, _ = Checkpoints(folder).restore(abstract())
    assert step == 20
    assert same(restored, state(20))
    assert "resuming from the one before it" in caplog.text
    assert str(folder / "30") in caplog.text


def test_a_state_without_checksums_is_taken_as_it_is(folder: Path) -> None:
    (folder.with_name("checkpoint_checksums") / "30.json").unlink()
    assert Checkpoints(folder).restore(abstract())[0] == 30


def test_a_deleted_latest_state_leaves_the_one_before(folder: Path) -> None:
    shutil.rmtree(folder / "30")
    assert Checkpoints(folder).restore(abstract())[0] == 20


def test_training_goes_on_after_a_damaged_state(folder: Path) -> None:
    truncate(folder / "30")
    checkpoints = Checkpoints(folder)
    checkpoints.restore(abstract())
    checkpoints.save(30, state(31), {"seconds": 1.0})
    checkpoints.close()
    step, restored, _ = Checkpoints(folder).restore(abstract())
    assert step == 30
    assert same(restored, state(31))


def test_what_a_killed_save_left_is_cleared(folder: Path) -> None:
    left = folder / "40.orbax-checkpoint-tmp-7"
    shutil.copytree(folder / "30", left)
    checkpoints = Checkpoints(folder)
    assert checkpoints.restore(abstract())[0] == 30
    # Orbax clears up in a thread of its own.
    deadline = time.monotonic() + 30
    while left.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left.exists()


def test_a_tree_is_replaced_and_comes_back(tmp_path: Path) -> None:
    save_tree(tmp_path / "tree", state(1))
    save_tree(tmp_path / "tree", state(2))
    assert same(load_tree(tmp_path / "tree", abstract()), state(2))


def test_a_full_disk_is_an_os_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import orbax.checkpoint as ocp

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: write failed: No space left on device [source=...]")

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        checkpoints.save(1, state(1), {})
    assert error.value.filename == str(tmp_path / "checkpoints")
