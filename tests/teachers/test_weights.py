"""Output weights of a teacher from elsewhere: checked, or estimated from its outputs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from lelp_jax.core.errors import UserError
from lelp_jax.core.progress import set_up_logging
from lelp_jax.projection.engine import pca
from lelp_jax.storage.open import open_bundle
from lelp_jax.teachers import imported, weights
from tests.helpers.softmax import softmax

ROWS, DIMS = 400, 20


def make(classes: int, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns embeddings, output weights and the logits that follow, float64."""
    random = np.random.default_rng(classes)
    embeddings = random.normal(size=(ROWS, DIMS)).astype(np.float32).astype(np.float64)
    layer = scale * random.normal(size=(DIMS, classes))
    return embeddings, layer, embeddings @ layer + random.normal(size=classes)


def find(arrays: Mapping[str, np.ndarray], rows: Any = None) -> np.ndarray:
    np.savez("t.npz", **arrays)
    set_up_logging()
    teacher = imported.read(open_bundle("t.npz", "here"))
    weights.check(teacher, rows)
    return weights.find(teacher, rows)


def removed(output_weights: np.ndarray) -> np.ndarray:
    """Returns the projection on what is taken out of the embedding."""
    basis = pca.range_basis(output_weights).astype(np.float64)
    return basis @ basis.T


def expected(directions: np.ndarray) -> np.ndarray:
    basis = np.linalg.qr(directions)[0]
    return basis @ basis.T


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_every_form_of_the_outputs_tells_the_same_range(classes: int) -> None:
    embeddings, layer, logits = make(classes)
    shift = np.random.default_rng(0).normal(size=(ROWS, 1)) * 5
    forms = {
        "logits": {"logits": logits},
        "logits with a constant per row": {"logits": logits + shift},
        "logits relative to the first class": {"logits": logits - logits[:, :1]},
        "probabilities": {"probabilities": softmax(logits)},
        "float32": {"probabilities": softmax(logits).astype(np.float32)},
    }
    if classes == 2:
        one = logits[:, 1] - logits[:, 0]
        forms["one output"] = {"logits": one}
        forms["a column of one"] = {"logits": one[:, None]}
        forms["one probability"] = {"probabilities": 1 / (1 + np.exp(-one))}
    wanted = expected(layer[:, 1:] - layer[:, :1])
    for name, form in forms.items():
        found = find({"embeddings": embeddings, **form})
        np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-5)
        np.testing.assert_allclose(removed(found), wanted, atol=2e-4, err_msg=name)
    # Given weights are the range of their columns.
    given = find({"embeddings": embeddings, "logits": logits, "output_weights": layer})
    np.testing.assert_allclose(removed(given), expected(layer), atol=1e-5)
    if classes == 2:
        single = layer[:, 1] - layer[:, 0]
        given = find({"embeddings": embeddings, "logits": one, "output_weights": single})
        np.testing.assert_allclose(removed(given), wanted, atol=1e-5)


def test_rounding_is_no_direction_of_its_own() -> None:
    """Few dims, an offset and a constant per row: rounding in the sum over the classes shows."""
    for seed in range(8):
        random = np.random.default_rng(seed)
        embeddings = (random.normal(size=(200, 3)) + 20).astype(np.float32)
        logits = embeddings @ random.normal(size=(3, 2)) + 1000 * random.normal(size=(200, 1))
        found = find({"embeddings": embeddings, "logits": logits.astype(np.float32)})
        assert pca.range_basis(found).shape == (3, 1)


def test_targets_are_the_same_whatever_form_the_outputs_have() -> None:
    from lelp_jax.project import main

    embeddings, _, logits = make(2)
    embeddings += (logits[:, 1] > logits[:, 0])[:, None]
    _, layer, _ = make(2)
    logits = embeddings @ layer
    logits -= np.median(logits, axis=0)
    one = logits[:, 1] - logits[:, 0]
    targets = []
    for form in (
        {"logits": logits},
        {"logits": one},
        {"logits": one[:, None]},
        {"probabilities": softmax(logits)},
        {"probabilities": 1 / (1 + np.exp(-one))},
    ):
        np.savez("t.npz", embeddings=embeddings, **form)
        assert main(["project", "--input=t.npz", "--out=o.npz", "--num_subclasses=4"]) == 0
        targets.append(np.load("o.npz")["targets"])
    for other in targets[1:]:
        assert np.abs(other - targets[0]).sum(axis=1).mean() / 2 < 1e-3


def test_probabilities_of_0_and_1_do_not_blur_the_estimate(
    capfd: pytest.CaptureFixture[str],
) -> None:
    embeddings, layer, logits = make(2, scale=3.0)
    given = softmax(logits).astype(np.float32)
    share = (given.min(axis=1) < 1e-7).mean()
    assert 0.1 < share < 0.4
    found = find({"embeddings": embeddings, "probabilities": given})
    np.testing.assert_allclose(removed(found), expected(layer[:, :1] - layer[:, 1:]), atol=1e-3)
    text = capfd.readouterr().err
    assert f"without the {share:.1%} of the rows that have a probability of 0 or 1" in text
    assert "warning" not in text
    # Where hardly any others are left, the log asks for the logits.
    hard = np.eye(2)[logits.argmax(axis=1)]
    find({"embeddings": embeddings, "probabilities": hard})
    text = capfd.readouterr().err
    assert "warning: " in text
    assert "100.0% of the rows have a probability of 0 or 1, whose logits are not known" in text
    assert "save the logits instead" in text


@pytest.mark.parametrize("classes", [2, 3, 20])
def test_given_weights_in_another_layout_or_order_are_refused(classes: int) -> None:
    embeddings, layer, logits = make(classes)
    given = {"embeddings": embeddings, "logits": logits}
    layouts = [layer.T.reshape(layer.shape)] if classes != DIMS else [layer.T]
    for wrong in layouts:
        with pytest.raises(UserError, match=r"save their transpose, weights\.T"):
            find({**given, "output_weights": wrong})
    order = np.roll(np.arange(classes), 1)
    with pytest.raises(UserError, match="in another order of classes") as caught:
        find({**given, "output_weights": layer[:, order]})
    # What it says puts them right.
    fixed = [int(word) for word in str(caught.value).split("[:, [")[1].rstrip("]").split(",")]
    find({**given, "output_weights": layer[:, order][:, fixed]})


def test_right_weights_pass_whatever_the_outputs(capfd: pytest.CaptureFixture[str]) -> None:
    embeddings, layer, logits = make(3, scale=3.0)
    for form in (
        {"logits": logits},
        {"logits": (logits + 7).astype(np.float16)},
        {"probabilities": softmax(logits).astype(np.float32)},
        {"logits": np.ones_like(logits)},
    ):
        found = find({"embeddings": embeddings, "output_weights": layer, **form})
        np.testing.assert_array_equal(found, layer.astype(np.float32))
    assert capfd.readouterr().err == ""
    find({"embeddings": embeddings, "output_weights": layer, "logits": logits / 2.5})
    text = capfd.readouterr().err
    assert "the logits are 0.4 times those of the output weights" in text
    assert "warning" not in text


def test_weights_of_something_else_are_warned_of(capfd: pytest.CaptureFixture[str]) -> None:
    embeddings, layer, logits = make(2)
    other = np.random.default_rng(9).normal(size=layer.shape)
    find({"embeddings": embeddings, "logits": logits, "output_weights": other})
    text = capfd.readouterr().err
    assert "warning: " in text
    assert "t.npz: the output weights explain the logits with R^2 = -" in text
    assert "below 0.99" in text
    assert "leave them out to have their range estimated" in text
    # Only the rows that are used count: others may be of another teacher.
    mixed = {
        "embeddings": np.concatenate([-embeddings, embeddings]),
        "logits": np.concatenate([logits**2, logits]),
        "output_weights": layer,
    }
    find(mixed, np.arange(ROWS, 2 * ROWS)[::-1])
    assert capfd.readouterr().err == ""
