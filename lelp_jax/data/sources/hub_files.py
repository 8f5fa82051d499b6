"""Finds which files of a data set on the Hugging Face hub hold which split, and downloads them.

`huggingface_hub` downloads, resumes and caches. The `datasets` library is not used: it copies every
data set into a second cache, asks the hub on every launch, and offline takes the latest copy in
that cache, whatever its revision.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from lelp_jax.core.errors import Unavailable, UserError, make_unknown_name_error

_LOG = logging.getLogger(__name__)
_SUFFIX = ".parquet"
_CONVERTED = "refs/convert/parquet"
# "train-00000-of-00004", after which some files have a hash.
_PIECE = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]+)?")
_SECONDS = 10.0
# The sources that read files of one's own.
_LOCAL = "files (image_table for images)"
_SHOWN = 8
_DISK = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT)


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A file that holds rows of one split.

    Attributes:
        name: Its path in the data set.
        folder: The folder of the subset.
        split: The split.
        number: Its position among the split's files.
        count: How many files the split has; 0 where the name does not tell.
    """

    name: str
    folder: str
    split: str
    number: int
    count: int


def find(name: str, revision: str, subset: str, wanted: Mapping[str, str]) -> dict[str, list[Path]]:
    """Finds the files of each split, in order; downloads those that are not in the cache.

    What is in the cache is taken without asking the hub, so a branch that moved on is not noticed
    until the cache is cleared.

    Args:
        name: The data set.
        revision: Branch, tag or commit.
        subset: The folder of its files; "" takes the only one.
        wanted: The data set's name of each split.

    Raises:
        UserError: There is no such data set, subset or split.
        Unavailable: The files are not in the cache and the hub does not answer.
    """
    names = _cached(name, revision)
    if names is None:
        names = _listed(name, revision)
    chosen = _choose(name, revision, subset, wanted, names)
    every = sorted({piece for pieces in chosen.values() for piece in pieces})
    folder = _download(name, revision, every)
    for piece in every:
        if not (folder / piece).is_file():
            raise UserError(f"{name}: {folder} lacks {piece}; remove the folder and start again")
    return {split: [folder / piece for piece in pieces] for split, pieces in chosen.items()}


def _choose(
    name: str, revision: str, subset: str, wanted: Mapping[str, str], names: Sequence[str]
) -> dict[str, list[str]]:
    """Selects the files of each split, in order."""
    pieces = [_piece(file) for file in sorted(names) if file.endswith(_SUFFIX)]
    if not pieces:
        hint = f"give its files with config.data.source={_LOCAL}"
        if revision != _CONVERTED:
            hint = f"try --config.data.revision={_CONVERTED}, where the hub keeps copies, or {hint}"
        raise UserError(
            f"{name} has no Parquet files at revision {revision!r}, but "
            f"{', '.join(sorted(names)[:_SHOWN]) or 'none at all'}; {hint}"
        )
    train = wanted["train"]
    folders = sorted({piece.folder for piece in pieces if piece.split == train})
    if subset:
        known = sorted({piece.folder for piece in pieces})
        folders = [folder for folder in known if subset in (folder, PurePosixPath(folder).name)]
        if not folders:
            raise make_unknown_name_error(f"subset of {name}", subset, known)
    if len(folders) > 1:
        raise UserError(
            f"{name} has rows of {train!r} in several folders; name one with "
            f"--config.data.subset=NAME: {', '.join(folders)}"
        )
    here = [piece for piece in pieces if not folders or piece.folder == folders[0]]
    chosen = {}
    for key, split in wanted.items():
        found = sorted((piece for piece in here if piece.split == split), key=_order)
        if not found:
            error = make_unknown_name_error(
                f"split of {name}", split, {piece.split for piece in here}
            )
            hint = f'; set config.data.{key}="" to split them off' if key != "train" else ""
            raise UserError(f"{error}{hint}")
        _check_whole(name, found)
        chosen[key] = [piece.name for piece in found]
    return chosen


def _order(piece: _Piece) -> tuple[int, str]:
    return piece.number, piece.name


def _piece(name: str) -> _Piece:
    """Parses subset and split from the name of a file.

    Usual are data/train-00000-of-00004.parquet, SUBSET/train-00000-of-00001.parquet,
    SUBSET/NAME-train.parquet and, on the branch of converted files, SUBSET/train/0000.parquet.
    """
    path = PurePosixPath(name)
    stem, folder = path.name.removesuffix(_SUFFIX), path.parent
    number, count = 0, 0
    match = _PIECE.fullmatch(stem)
    if match is not None:
        stem, number, count = match["split"], int(match["number"]), int(match["count"])
    elif stem.isdigit():
        stem, number, folder = folder.name, int(stem), folder.parent
        return _Piece(name, str(folder), stem, number, count)
    return _Piece(name, str(folder), stem.rpartition("-")[2], number, count)


def _check_whole(name: str, pieces: Sequence[_Piece]) -> None:
    """Checks that no file of a split is missing or there twice."""
    count = max(max(piece.count for piece in pieces), len(pieces))
    numbers = [piece.number for piece in pieces]
    if numbers != list(range(count)):
        raise UserError(
            f"{name}: the {count} files of a split are to be numbered from 0, each once, but they "
            f"are {', '.join(piece.name for piece in pieces[:_SHOWN])}; name another revision, or "
            f"give the files with config.data.source={_LOCAL}"
        )


def _cached(name: str, revision: str) -> list[str] | None:
    """Lists the data set's files as an earlier download recorded them; None without one."""
    import huggingface_hub
    from huggingface_hub.errors import CachedRepoTreeNotFoundError, HFValidationError

    try:
        tree = huggingface_hub.get_cached_repo_tree(name, repo_type="dataset", revision=revision)
    except (CachedRepoTreeNotFoundError, HFValidationError):
        return None
    return [file.path for file in tree]


def _listed(name: str, revision: str) -> list[str]:
    """Lists the data set's files; asks the hub."""
    import huggingface_hub
    from huggingface_hub import errors

    try:
        info = huggingface_hub.HfApi().dataset_info(name, revision=revision, timeout=_SECONDS)
    except errors.HFValidationError as error:
        raise UserError(f"config.data.name: {_line(error)}") from None
    except errors.RevisionNotFoundError:
        raise UserError(
            f"config.data.revision: {name} has no revision {revision!r}; 'main' is usual"
        ) from None
    except errors.GatedRepoError:
        raise UserError(
            f"config.data.name: {name} is given only to those who agree to its terms on "
            f"https://huggingface.co/datasets/{name}; do so, then run: hf auth login"
        ) from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"config.data.name: the hub has no data set {name!r}, or it is private; check the name "
            "on https://huggingface.co/datasets, or run: hf auth login"
        ) from None
    except Exception as error:
        raise _unavailable(name, revision, error) from error
    return [file.rfilename for file in info.siblings or ()]


def _download(name: str, revision: str, files: list[str]) -> Path:
    """Downloads the files that are missing; returns the folder that holds all of them."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    download = functools.partial(
        huggingface_hub.snapshot_download,
        name,
        repo_type="dataset",
        revision=revision,
        allow_patterns=files,
    )
    try:
        folder = Path(download(local_files_only=True))
        if all((folder / file).is_file() for file in files):
            return folder
    except LocalEntryNotFoundError:
        pass
    _LOG.info("%s: %d files are downloaded or completed in the cache", name, len(files))
    try:
        return Path(download())
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise _unavailable(name, revision, error) from error
    except Exception as error:
        raise _unavailable(name, revision, error) from error


def _unavailable(name: str, revision: str, error: Exception) -> Unavailable:
    return Unavailable(
        f"{name} at {revision!r} is not wholly in the cache, and the Hugging Face hub cannot be "
        f"reached ({_line(error)}); where there is a network, run: hf download --repo-type dataset "
        f"{name} --revision {revision}, and copy its cache here (~/.cache/huggingface); or "
        f"give one file per split with config.data.source={_LOCAL}"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:250] or type(error).__name__
