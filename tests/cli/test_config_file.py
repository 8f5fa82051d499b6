"""Config files that come with the package are found where the current folder has none."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lelp_jax.cli import config_file
from lelp_jax.core.errors import UserError
from tests.helpers.paths import ROOT

CONFIG = (
    "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict(dict(a=1))\n"
)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Installs a package with config files; the test runs in another folder."""
    site = tmp_path / "prefix/lib/site-packages"
    share = tmp_path / "prefix/share/lelp_jax"
    information = site / "lelp_jax-0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: lelp_jax\nVersion: 0\n")
    files = [share / "configs/a.py", share / "configs/gone.py", share / "experiments/b.py"]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CONFIG)
    listed = [os.path.relpath(path, site) for path in files]
    (information / "RECORD").write_text("".join(f"{name},,\n" for name in listed))
    files[1].unlink()
    found = importlib.metadata.PathDistribution(information)
    monkeypatch.setattr(importlib.metadata, "files", lambda name: found.files)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return share


@pytest.mark.parametrize("name", ["configs/a.py", "experiments/b.py"])
def test_an_installed_config_is_found(name: str, installed: Path, package_log: list) -> None:
    assert config_file.load_config(Path(name)).a == 1
    [(_, message)] = package_log
    assert message == f"{name} is not here; taking {installed / name}, which came with the package"


@pytest.mark.parametrize(
    "name", ["configs/b.py", "configs/gone.py", "configs/c.py", "experiments/a.py"]
)
@pytest.mark.usefixtures("installed")
def test_a_missing_one_is_told_with_the_way(name: str) -> None:
    folder = name.partition("/")[0]
    words = f"^--config={name}: no such file, and the current folder has no {folder}; run the comm"
    with pytest.raises(UserError, match=words):
        config_file.load_config(Path(name))


@pytest.mark.usefixtures("installed")
def test_no_file_of_a_users_own_becomes_an_installed_one() -> None:
    for name in ("a.py", "other/a.py", "my/configs/a.py", "../elsewhere/configs/a.py"):
        with pytest.raises(UserError, match=r"no such file$"):
            config_file.load_config(Path(name))
    Path("configs").mkdir()
    with pytest.raises(UserError, match=r"^--config=configs/a\.py: no such file$"):
        config_file.load_config(Path("configs/a.py"))
    Path("configs/a.py").write_text(CONFIG.replace("1", "2"))
    assert config_file.load_config(Path("configs/a.py")).a == 2


def test_a_package_that_is_not_installed_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_file, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="the current folder has no configs"):
        config_file.load_config(Path("configs/digits.py"))


def test_a_config_may_start_from_one_in_the_folder_beside_it(tmp_path: Path) -> None:
    before = list(sys.path)
    for name in ("beside_configs", "beside_experiments"):
        (tmp_path / "project" / name).mkdir(parents=True)
    (tmp_path / "project/beside_configs/a.py").write_text(CONFIG)
    path = tmp_path / "project/beside_experiments/b.py"
    path.write_text("from beside_configs.a import get_config\n")
    assert config_file.load_config(path).a == 1
    assert sys.path == before


@pytest.mark.slow
def test_a_wheel_brings_the_configs(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("lelp_jax", "configs", "experiments"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, source]
    subprocess.run(wheel, check=True, cwd=tmp_path)
    [found] = tmp_path.glob("*.whl")
    prefix = ["--prefix", tmp_path / "prefix", "--ignore-installed", "--no-deps"]
    subprocess.run([*pip, "install", *prefix, found], check=True, cwd=tmp_path)
    scheme = {"base": str(tmp_path / "prefix"), "platbase": str(tmp_path / "prefix")}
    site = sysconfig.get_path("purelib", "posix_prefix", scheme)
    (tmp_path / "elsewhere").mkdir()
    # Nothing is trained: the text of the help needs the config.
    for name in ("configs/digits.py:quick", "experiments/digits_baselines.py"):
        done = subprocess.run(
            [sys.executable, "-m", "lelp_jax.main", f"--config={name}", "--help=config.seed"],
            cwd=tmp_path / "elsewhere",
            env={**os.environ, "PYTHONPATH": site},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("  --config.seed: ")
        path = tmp_path / "prefix/share/lelp_jax" / name.partition(":")[0]
        assert f"taking {path}, which came with the package" in done.stderr
