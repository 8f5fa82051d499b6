"""Set-up of the tests: one CPU device, quick compilation, repeatable hypothesis examples."""

import os

# Before JAX starts. Sharded training is tested in processes of its own.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")

import hypothesis
import jax
import pytest

from lelp_jax import parallel

parallel.set_up()
# Most of the tests' time goes to compiling programs that run for milliseconds. What runs in
# processes of its own, such as the kill tests, is compiled as users have it.
jax.config.update("jax_disable_most_optimizations", True)
hypothesis.settings.register_profile(
    "lelp_jax", deadline=None, max_examples=25, derandomize=True, print_blob=False
)
hypothesis.settings.load_profile("lelp_jax")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs every test in an empty folder, so that none writes into the checkout."""
    monkeypatch.chdir(tmp_path)
