"""The projection stage: what its artifacts depend on, and how it names what a user got wrong."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lelp_jax.core.curves import CurveLog
from lelp_jax.core.errors import UserError
from lelp_jax.core.interrupts import Interrupts
from lelp_jax.core.progress import Reporter
from lelp_jax.core.session import Session
from lelp_jax.data.dataset import Dataset
from lelp_jax.data.preprocessing import Preprocessing
from lelp_jax.experiment.run import Run
from lelp_jax.methods import METHODS
from lelp_jax.projection import PROJECTORS
from lelp_jax.projection.base import load
from lelp_jax.projection.linear import LinearProjection
from lelp_jax.students import projections as stage
from lelp_jax.students.replicates import Replicate
from tests.helpers.embeddings import CLASSES, COUNT, example

ROWS, WEIGHTS = example()
# A teacher that is right.
LOGITS = np.eye(CLASSES, dtype=np.float32)[ROWS.label]


def ensure(name: str, logits: np.ndarray = LOGITS, **changed: Any) -> LinearProjection:
    """Fits the projection of a method, by default settings; a student sees half of the rows."""
    index = np.arange(COUNT)
    nothing = np.zeros(0, int)
    dataset = Dataset(
        inputs=np.zeros((COUNT, 1), np.float32),
        labels=ROWS.label,
        fine_labels=None,
        train=index,
        validation=nothing,
        test=nothing,
        class_names=("even", "odd"),
        fine_names=(),
        preprocessing=Preprocessing(np.zeros(1), np.ones(1)),
    )
    bank: Any = SimpleNamespace(
        fingerprint="b",
        logits=logits,
        embeddings=ROWS.embedding,
        output_weights=WEIGHTS,
        find_positions=lambda index: index,
    )
    method = METHODS[name]
    static = {key: s.default[0] for key, s in method.search_space.items() if not s.traced}
    static |= {"num_subclasses": 3} | changed
    session = Session(Reporter(), Interrupts(), CurveLog(Path("metrics.jsonl")), 60)
    run = Run("x", Path("work"), Path("work"), None, dataset, (dataset,), None, session)  # type: ignore[arg-type]
    replicate = Replicate(0, 0, None, bank, dataset, index[: COUNT // 2], 5)  # type: ignore[arg-type]
    return stage.ensure(run, method, static, replicate)


def stored() -> list[Path]:
    return sorted(Path("work/projections").glob("*/projection.npz"))


def test_methods_with_the_same_projector_and_settings_share_what_was_fitted():
    unrotated = ensure("lelp_unrotated")
    (path,) = stored()
    written = path.stat().st_mtime_ns
    # A setting that the projector does not take belongs to the method alone.
    again = ensure("lelp", rotate=False, weight_of_something=3)
    assert stored() == [path]
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.basis, unrotated.basis)
    inputs = json.loads((path.parent / "stage.json").read_text())["inputs"]
    assert set(inputs["settings"]) == set(METHODS["lelp"].projector.search_space)
    assert set(load(path, PROJECTORS).hyperparameters) == set(
        METHODS["lelp"].projector.search_space
    )
    ensure("pca")
    assert len(stored()) == 2
    ensure("lelp", rotate=False, null_space=False)
    assert len(stored()) == 2
    ensure("lelp_ensemble", num_rotations=2)
    ensure("lelp_ensemble", num_rotations=3)
    ensure("random_projection")
    assert len(stored()) == 5


def test_what_a_projection_is_fitted_on_counts():
    first = ensure("random_projection")
    second = ensure("random_projection", fit_on="transfer")
    assert len(stored()) == 2
    np.testing.assert_array_equal(first.basis, second.basis)
    for projection, seen in ((first, COUNT), (second, COUNT // 2)):
        own = ROWS.embedding[:seen][ROWS.label[:seen] == 1]
        np.testing.assert_allclose(projection.mean[1], own.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(
    ("method", "limit"), [("pca", 10), ("lelp_unrotated", 8), ("lelp_ensemble", 8)]
)
def test_too_many_subclasses_are_told_by_the_method_that_wants_them(method, limit):
    with pytest.raises(
        UserError,
        match=rf"^config\.methods\.{method}: num_subclasses 11 .*; take num_subclasses of at most "
        rf"{limit}$",
    ):
        ensure(method, num_subclasses=11)
    assert not stored()


def test_a_class_without_rows_is_told_by_the_method_that_wants_them():
    silent = np.tile(np.float32([1, 0]), (COUNT, 1))
    with pytest.raises(UserError, match=r"^config\.methods\.pca: class 1 .*has no rows to fit"):
        ensure("pca", silent, membership="teacher")
