"""Config files: those that a user names, and those that are installed with the package."""

from __future__ import annotations

import importlib.metadata
import logging
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from ml_collections import ConfigDict
from ml_collections.config_dict import RequiredValueError

from lelp_jax.core.errors import UserError, format_error

_LOG = logging.getLogger(__name__)
_PACKAGE = "lelp_jax"
# The folders of the project that a wheel brings along, in the folder share/lelp_jax.
_FOLDERS = ("configs", "experiments")


def load_config(path: Path, arguments: Sequence[str] = ()) -> ConfigDict:
    """Loads a config by calling `get_config` of a config file.

    Args:
        path: The config file.
        arguments: Passed to `get_config`; the part after the colon in --config=FILE:ARGUMENT.

    Raises:
        UserError: The file is missing, fails, or returns no config.
    """
    place = f"--config={path}"
    if path.is_dir():
        raise UserError(f"{place} is a folder; give a config file, such as configs/digits.py")
    if not path.is_file():
        path = _find_installed(path)
    # A grid in experiments/ starts from a file in configs/, wherever the command is run.
    beside = str(path.absolute().parent.parent)
    sys.path.append(beside)
    try:
        module = runpy.run_path(str(path), run_name="config")
        if "get_config" not in module:
            raise UserError("the file defines no function get_config")
        config = module["get_config"](*arguments)
        if not isinstance(config, ConfigDict):
            raise UserError(f"get_config must return a ConfigDict, got {config!r}")
        config.to_dict()
        return config
    except RequiredValueError:
        raise UserError(
            f"{place}: a required_placeholder has no value; use a default such as '' instead"
        ) from None
    except UserError as error:
        raise UserError(f"{place}: {error}") from error
    except (Exception, SystemExit) as error:
        # A config file is the user's program, so any exception in it is an error of the user's.
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if frame.filename == str(path)
        ]
        line = f" line {lines[-1]}" if lines else ""
        raise UserError(f"{place}{line}: {type(error).__name__}: {format_error(error)}") from error
    finally:
        sys.path.remove(beside)


def _find_installed(path: Path) -> Path:
    """Finds a config file among those that were installed with the package.

    Only a path such as `configs/digits.py` is looked up, and only where the current folder has no
    `configs` of its own: a file of the user's own that is not found should not become another one.

    Raises:
        UserError: There is none.
    """
    folder = path.parent
    if folder.name not in _FOLDERS or len(path.parts) != 2 or folder.exists():
        raise UserError(f"--config={path}: no such file")
    try:
        installed = importlib.metadata.files(_PACKAGE) or ()
    except importlib.metadata.PackageNotFoundError:
        installed = ()
    for file in installed:
        found = Path(str(file.locate()))
        if file.parts[-4:] == ("share", _PACKAGE, *path.parts) and found.is_file():
            found = found.resolve()
            _LOG.info("%s is not here; taking %s, which came with the package", path, found)
            return found
    raise UserError(
        f"--config={path}: no such file, and the current folder has no {folder}; run the command "
        f"in the folder of the project's source, which holds {folder}, or give the path of a file"
    )
