"""Finds data sets prepared by TensorFlow Datasets, and prepares missing ones."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

from lelp_jax.core.errors import UserError, make_unknown_name_error

_LOG = logging.getLogger(__name__)
_FORMAT = "array_record"


def find_builder(name: str, data_dir: str) -> Any:
    """Finds the builder of a data set that can be read without TensorFlow.

    Args:
        name: Name of the data set ("glue/sst2").
        data_dir: Where prepared data sets are stored; "" is TFDS's default folder.

    Raises:
        UserError: There is none, or it cannot be prepared here.
    """
    # Imported here: the import takes longer than a finished run takes to print its table.
    import tensorflow_datasets as tfds

    try:
        found = tfds.builder(name, data_dir=data_dir or None)
    except tfds.core.DatasetNotFoundError:
        raise UserError(
            f"config.data.name: TFDS knows no data set {name!r}, nor is one prepared in "
            f"{data_dir or 'its folder'}; https://www.tensorflow.org/datasets/catalog lists them"
        ) from None
    except Exception as error:
        base, _, variant = name.partition("/")
        known = _list_variants(base)
        if variant and variant not in known and known:
            raise make_unknown_name_error(
                f"variant of {base} in config.data.name", variant, known
            ) from None
        # Builders may do anything when they are made, such as ask for a missing package.
        raise UserError(
            f"config.data.name: TFDS cannot build {name!r}: {shorten_error(error)}"
        ) from error
    given = f", data_dir={data_dir!r}" if data_dir else ""
    command = (
        'python -c "import tensorflow_datasets as tfds; '
        f'tfds.builder({name!r}{given}).download_and_prepare(file_format={_FORMAT!r})"'
    )
    if not found.is_prepared():
        if importlib.util.find_spec("tensorflow") is None:
            raise UserError(
                f"config.data.name: {name!r} is not prepared in {found.data_path}, and that "
                "needs TensorFlow, though nothing after it does: pip install 'lelp_jax[tfds]' and "
                f"{command}, here or on a machine from which you copy that folder"
            )
        _LOG.info("TFDS downloads and prepares %s in %s", found.info.full_name, found.data_path)
        # The copies that Google has prepared are in another format.
        settings = tfds.download.DownloadConfig(try_download_gcs=False)
        try:
            found.download_and_prepare(file_format=_FORMAT, download_config=settings)
        except Exception as error:
            raise UserError(
                f"config.data.name: TFDS cannot prepare {name!r}: {shorten_error(error)}; "
                f"where there is a network, run {command}"
            ) from error
    kind = found.info.file_format
    if kind is None or kind.value != _FORMAT:
        raise UserError(
            f"config.data.name: {found.data_path} is of the format "
            f"{kind.value if kind else 'unknown'}, and only {_FORMAT} is read; "
            f"remove the folder or name another one with --config.data.data_dir=FOLDER, then run "
            f"{command}"
        )
    return found


def _list_variants(name: str) -> tuple[str, ...]:
    """Lists the variants of a registered data set, such as the tasks of GLUE."""
    import tensorflow_datasets as tfds

    try:
        return tuple(tfds.builder_cls(name).builder_configs)
    except Exception:
        return ()


def shorten_error(error: Exception) -> str:
    """Shortens an error's message to one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
