"""Set-up of the tests: one CPU device, quick compilation, repeatable hypothesis examples."""

import collections
import logging
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# Before JAX starts. Sharded training is tested in processes of its own.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "1")
# Most of the tests' time goes to compiling programs that run for milliseconds. `make test-kills`
# compiles as users do.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if version("jaxlib").startswith("0.10."):
    # Takes a third of the time to compile. jaxlib 0.12 knows no such flag, and would stop.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import filelock
import hypothesis
import jax
import pytest
from matplotlib.figure import Figure

from lelp_jax.core import parallel

# Of the 65,530 that Linux allows.
MOST_MAPPINGS = 25_000

parallel.set_up()
hypothesis.settings.register_profile(
    "lelp_jax", deadline=None, max_examples=25, derandomize=True, print_blob=False
)
hypothesis.settings.load_profile("lelp_jax")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts files with many slow tests first: what comes last keeps one process busy alone."""
    slow = collections.Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="session")
def _coarse_pictures() -> Iterator[None]:
    """Draws pictures of few pixels: in their usual size they take a quarter of a small run."""
    save = Figure.savefig
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, path, dpi=None: save(self, path, dpi=30))
        yield


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gives the workdir of a finished `tiny.run`, which all test processes share: only read it."""
    from tests.helpers import tiny

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with filelock.FileLock(folder / "finished_run.lock"):
        if not (folder / "finished_run").exists():
            assert tiny.run(folder / "unfinished_run") == 0
            (folder / "unfinished_run").rename(folder / "finished_run")
    return folder / "finished_run"


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs() -> Iterator[None]:
    """Drops compiled programs where a process holds many: their memory mappings are limited."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > MOST_MAPPINGS:
        parallel._COMPILED.clear()
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs every test in an empty folder, so that none writes into the checkout."""
    monkeypatch.chdir(tmp_path)


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append((record.levelno, record.getMessage()))


@pytest.fixture
def package_log() -> Iterator[list[tuple[int, str]]]:
    """Level and message of everything that the package logs, whatever was set up before.

    pytest's own caplog misses these lines, or has them twice, once the program has set up logging.
    """
    logger, handler = logging.getLogger("lelp_jax"), _Messages()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield handler.found
    logger.removeHandler(handler)
    logger.setLevel(level)
