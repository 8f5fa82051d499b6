"""Small objects in a folder of this machine or at an address such as gs://."""

from __future__ import annotations

import functools
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lelp_jax.core import files
from lelp_jax.core.errors import Unavailable, UserError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://")
_FILE = "file://"
# How TensorStore's messages about content begin, other than those about connections and rights.
_UNDECODABLE = (
    "FAILED_PRECONDITION: Error reading",
    "DATA_LOSS",
    "INVALID_ARGUMENT: Error reading",
)
# How TensorStore writes the number of an error of the operating system.
OS_ERROR = re.compile(r"os_error_code='(\d+)'")
# About a minute in all: the library's own 32 tries take a quarter of an hour to report a host that
# cannot be reached.
_RETRIES = {"max_retries": 8, "initial_delay": "500ms", "max_delay": "16s"}


def is_url(location: str | os.PathLike[str]) -> bool:
    """Checks whether a location is an address, not a path of this machine."""
    name = os.fspath(location)
    return bool(_ADDRESS.match(name)) and not name.startswith(_FILE)


def local_path(location: str | os.PathLike[str]) -> Path:
    """Makes the absolute path of a location of this machine; ~ is the home folder."""
    name = os.fspath(location)
    if name.startswith(_FILE):
        name = unquote(name.removeprefix(_FILE))
    return Path(os.path.abspath(os.path.expanduser(name)))


def join(location: str | os.PathLike[str], name: str) -> str:
    """Joins the location of a folder and the name of something in it."""
    if is_url(location):
        return f"{os.fspath(location).rstrip('/')}/{name}"
    return str(local_path(location) / name)


@functools.cache
def make_context() -> Any:
    """Makes the context that all uses of TensorStore share: no cache, few retries."""
    import tensorstore as ts

    return ts.Context(
        {
            "cache_pool": {"total_bytes_limit": 0},
            "http_request_retries": _RETRIES,
            "gcs_request_retries": _RETRIES,
            "s3_request_retries": _RETRIES,
        }
    )


def folder_spec(location: str | os.PathLike[str]) -> Any:
    """Makes TensorStore's specification of the folder at a location.

    Raises:
        UserError: TensorStore does not support the address or the path.
    """
    if not is_url(location):
        path = local_path(location).as_posix()
        if "\\" in path:
            # TensorStore would write into another folder.
            raise UserError(f"{path} contains a backslash; give a path without one")
        return {"driver": "file", "path": f"{path}/"}
    import tensorstore as ts

    try:
        spec = ts.KvStore.Spec(os.fspath(location))
    except ValueError as error:
        raise UserError(
            f"{location} is not a supported address ({shorten_error(error)}); "
            "give gs://bucket/folder, s3://bucket/folder, https://host/folder or a local path"
        ) from error
    # Without the slash, gs://bucket/a would also hold the objects of gs://bucket/ab.
    return spec if spec.path.endswith("/") or not spec.path else spec + "/"


def shorten_error(error: Exception) -> str:
    """Shortens the message of a storage library to one line."""
    return " ".join(str(error).split(" [tensorstore_spec")[0].split())[:200]


def make_read_error(location: str | os.PathLike[str], error: Exception) -> UserError:
    """Makes the error for something that exists but cannot be read."""
    found = OS_ERROR.search(str(error))
    code = int(found[1]) if found else 0
    if code and not isinstance(OSError(code, ""), files.LOST):
        # Missing permissions or a failing disk do not mean that anything is damaged.
        return Unavailable(
            f"{location} cannot be read ({os.strerror(code)}); check the permissions and the disk"
        )
    problem = f"{location} cannot be read: {shorten_error(error)}"
    # What arrived cannot be decoded: no later try would change that.
    arrived = shorten_error(error).startswith(_UNDECODABLE)
    if is_url(location) and not arrived:
        return Unavailable(
            f"{problem}; check the address, the connection and your permission to read, or write "
            "it again"
        )
    return UserError(f"{problem}; it is damaged or not what its name says: write it again")


def make_write_error(location: str | os.PathLike[str], error: Exception) -> UserError:
    """Makes the error for an address that cannot be written."""
    return Unavailable(
        f"{location} cannot be written: {shorten_error(error)}; "
        "check the address, the connection and your permission to write"
    )


def read_bytes(location: str | os.PathLike[str], name: str) -> bytes | None:
    """Reads an object of a folder; None when it is missing.

    Args:
        location: The folder.
        name: The object in it; its parts are separated by /.

    Raises:
        OSError: A local file cannot be read.
        UserError: The address cannot be read.
    """
    if not is_url(location):
        try:
            return (local_path(location) / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
    try:
        result = _open(location).read(name).result()
    except (ValueError, OSError, NotImplementedError) as error:
        raise make_read_error(join(location, name), error) from error
    return result.value if result.state == "value" else None


def write_bytes(location: str | os.PathLike[str], name: str, content: bytes) -> None:
    """Writes an object of a folder, whole or not at all; the folder is made where needed.

    Args:
        location: The folder.
        name: The object in it; its parts are separated by /.
        content: Its new content.

    Raises:
        OSError: A local file cannot be written.
        UserError: The address cannot be written.
    """
    if not is_url(location):
        path = local_path(location) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, content)
        return
    try:
        _open(location).write(name, content).result()
    except (ValueError, OSError, NotImplementedError) as error:
        raise make_write_error(join(location, name), error) from error


def exists(location: str | os.PathLike[str], name: str) -> bool:
    """Checks whether a folder holds an object of this name."""
    if not is_url(location):
        return (local_path(location) / name).is_file()
    return read_bytes(location, name) is not None


def list_keys(location: str | os.PathLike[str]) -> list[str] | None:
    """Lists the names of all objects at an address, sorted; None where it cannot be listed.

    Raises:
        UserError: The address cannot be read.
    """
    try:
        return sorted(key.decode() for key in _open(location).list().result())
    except NotImplementedError:
        return None
    except (ValueError, OSError) as error:
        raise make_read_error(location, error) from error


def delete_tree(location: str | os.PathLike[str]) -> None:
    """Deletes a folder with everything in it; a missing one is no error.

    Raises:
        OSError: A local folder cannot be deleted.
        UserError: The address cannot be written, or it is a whole bucket.
    """
    if not is_url(location):
        path = local_path(location)
        if path.is_dir():
            shutil.rmtree(path)
        return
    import tensorstore as ts

    store = _open(location)
    if not store.path.strip("/"):
        raise UserError(f"{location} is a whole bucket; give a folder inside it")
    try:
        store.delete_range(ts.KvStore.KeyRange()).result()
    except (ValueError, OSError, NotImplementedError) as error:
        raise make_write_error(location, error) from error


def _open(location: str | os.PathLike[str]) -> Any:
    import tensorstore as ts

    try:
        return ts.KvStore.open(folder_spec(location), context=make_context()).result()
    except (ValueError, OSError) as error:
        raise make_read_error(location, error) from error
