"""Checkpoints: exact, two kept, and a damaged one is passed over for the one before it."""

import logging
import shutil
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lelp_jax.core import artifacts, checkpoint
from lelp_jax.core.checkpoint import Checkpoints, load_tree, save_tree
from lelp_jax.core.errors import UserError
from lelp_jax.storage import zarr
from tests.helpers import stored, tiny


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


@pytest.mark.parametrize("name", ["a state's file", "its checksums"])
def test_what_cannot_be_read_for_another_reason_is_kept(folder: Path, name: str) -> None:
    file = next(path for path in (folder / "30").rglob("*") if path.is_file())
    path = file if name == "a state's file" else folder.parent / "checkpoint_checksums/30.json"
    stored.block(path)
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(OSError, match="Too many levels of symbolic links") as error:
        Checkpoints(folder).restore(abstract())
    assert error.value.filename == str(path)
    assert sorted(folder.parent.rglob("*")) == before
    stored.unblock(path)
    step, restored, _ = Checkpoints(folder).restore(abstract())
    assert step == 30
    assert same(restored, state(30))


def fail_to_restore(monkeypatch: pytest.MonkeyPatch, *steps: int) -> None:
    """Lets Orbax fail at some steps for a reason that is not in the files."""
    restore = ocp.CheckpointManager.restore

    def fail(self, step, **arguments):
        if step in steps:
            raise ValueError("NOT_FOUND: no files match the pattern")
        return restore(self, step, **arguments)

    monkeypatch.setattr(checkpoint, "_SECONDS_FOR_READS", 0)
    monkeypatch.setattr(ocp.CheckpointManager, "restore", fail)


def test_an_intact_state_that_cannot_be_restored_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tiny.snapshot(folder.parent)
    fail_to_restore(monkeypatch, 20, 30)
    with pytest.raises(UserError, match=f"checkpoint {folder}/30 is as it was written") as error:
        Checkpoints(folder).restore(abstract())
    assert "(NOT_FOUND: no files match the pattern); delete " in str(error.value)
    assert tiny.snapshot(folder.parent) == before


def test_a_state_without_checksums_that_cannot_be_restored_is_set_aside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums = folder.with_name("checkpoint_checksums")
    (sums / "30.json").write_text("[]")
    fail_to_restore(monkeypatch, 30)
    # The run comes to this step again, and may again be killed before its checksums are written.
    for _ in range(2):
        before = tiny.snapshot(folder / "30")
        checkpoints = Checkpoints(folder)
        step, restored, _ = checkpoints.restore(abstract())
        assert step == 20
        assert same(restored, state(20))
        assert tiny.snapshot(folder.with_name("checkpoints_set_aside") / "30") == before
        checkpoints.save(30, state(31), {"seconds": 1.0})
        checkpoints.close()
        (sums / "30.json").unlink()


def test_intact_parameters_that_cannot_be_read_are_kept(
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    for stage in ("exports", "surveys", "reports"):
        shutil.rmtree(run / stage)
    before = {name: tiny.snapshot(run / name) for name in ("teachers", "banks", "students")}

    def fail(*_):
        raise ValueError("NOT_FOUND: no files match the pattern")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "load_tree", fail)
        assert tiny.run(run) == 2
    last = capfd.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: {run}/")
    assert "parameters cannot be read (NOT_FOUND: no files match the pattern); delete " in last
    assert {name: tiny.snapshot(run / name) for name in before} == before
    assert tiny.run(run) == 0


# Whatever a user may call a folder, and what libraries may take for something else.
NAMES = st.text(
    st.sampled_from("ab .~%#$&+=@!:;,'\"(){}^`|<>*?[]\\\t\n-_é日±\u0301\u200b\U0001f600\udcff"),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=30)
@given(name=NAMES)
@example("lr=[0.1]")
@example("logs:")
@example("a\\b")
@example("C:")
@example("with space")
@example("~")
@example("100%25#x")
@example("two\nlines")
def test_a_workdir_of_any_name_works_or_is_refused(name: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / name / "run"
        if set(name) & set("*?[\\\udcff") or name.endswith("gs:"):
            with pytest.raises(UserError, match="give another --workdir"):
                artifacts.check_root(root)
            return
        artifacts.check_root(root)
        save_tree(root / "parameters", state(1))
        assert same(load_tree(root / "parameters", abstract()), state(1))
        checkpoints = Checkpoints(root / "checkpoints")
        checkpoints.save(10, state(10), {})
        checkpoints.close()
        step, restored, _ = Checkpoints(root / "checkpoints").restore(abstract())
        assert step == 10
        assert same(restored, state(10))
        values = np.arange(6, dtype=np.float32).reshape(3, 2)
        zarr.create(str(root / "bank"), (3, 2), np.float32, 2).write(0, values)
        np.testing.assert_array_equal(zarr.open(str(root / "bank"))[:], values)
        assert [path.name for path in Path(place).iterdir()] == [name]


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
    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: write failed: No space left on device [source=...]")

    checkpoints = Checkpoints(tmp_path / "checkpoints")
    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(OSError, match="No space left on device") as error:
        checkpoints.save(1, state(1), {})
    assert error.value.filename == str(tmp_path / "checkpoints")
