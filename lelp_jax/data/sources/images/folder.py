"""Image files in one folder per class."""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np

from lelp_jax.core.constraints import NonEmpty
from lelp_jax.core.errors import UserError
from lelp_jax.data import labels
from lelp_jax.data.dataset import Parts
from lelp_jax.data.sources import labelling
from lelp_jax.data.sources.images import cache
from lelp_jax.data.sources.images.collection import EncodedImageSource, EncodedSplit

_LOG = logging.getLogger(__name__)
# Names of the folders of each split.
_SPLITS = {"train": ("train",), "validation": ("validation", "val", "valid"), "test": ("test",)}
# What file managers and archives leave behind, in lower case.
_LEFTOVERS = ("thumbs.db", "desktop.ini", "__macosx")
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class ImageFolder(EncodedImageSource):
    """FOLDER/CLASS/*.png, in any format that Pillow reads; the folder's name is the label.

    A folder `train` that holds folders makes it FOLDER/train/CLASS/*.png, beside which
    `validation` (or `val`, `valid`) and `test` may stand; what is missing of these is split off the
    training rows. In the folder of a class, images may be stored in further folders. The name of a
    row is its path below FOLDER ("cat/0001.png"). `unlabelled` names the folder of images that have
    no label, if there is one.

    Attributes:
        folder: Path of FOLDER.
    """

    folder: Annotated[str, NonEmpty("a folder that holds one folder of images per class")]

    def parts(self) -> Parts:
        """Reads the files.

        Raises:
            UserError: The folder or an image cannot be used.
        """
        root = Path(os.path.expanduser(self.folder))
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; check config.data.folder")
        suffixes = _find_suffixes()
        splits = {
            split: _SplitFiles(root, _list_classes(folder, suffixes))
            for split, folder in _find_splits(root).items()
        }
        images = self.read_images(
            {split: EncodedSplit(files.list_paths, files.place) for split, files in splits.items()},
            {split: cache.describe_files(files.paths) for split, files in splits.items()},
        )
        return labelling.make_parts(
            {
                split: labelling.LabelledInputs(
                    inputs=images[split],
                    labels=labels.read(
                        np.array(files.names), "folder", files.place, self.unlabelled
                    ),
                    fine_labels=None,
                    place=files.place,
                    ids=np.array([path.relative_to(root).as_posix() for path in files.paths]),
                )
                for split, files in splits.items()
            },
            class_map=self.class_map,
        )


class _SplitFiles:
    """The files of one split.

    Attributes:
        paths: The files, sorted by class and path.
        names: The name of each file's class.
    """

    def __init__(self, root: Path, classes: Mapping[str, list[Path]]):
        self.paths = [path for paths in classes.values() for path in paths]
        self.names = [name for name, paths in classes.items() for _ in paths]

    def list_paths(self) -> list[Path]:
        """Lists the files."""
        return self.paths

    def place(self, row: int) -> str:
        """Names the file of a row."""
        return str(self.paths[row])


def _find_suffixes() -> frozenset[str]:
    """Finds the endings of files that Pillow reads, in lower case."""
    from PIL import Image

    endings = Image.registered_extensions()
    return frozenset(ending for ending, kind in endings.items() if kind in Image.OPEN)


def _find_splits(root: Path) -> dict[str, Path]:
    """Finds the folder of each split."""
    found: dict[str, Path] = {}
    for split, names in _SPLITS.items():
        there = [root / name for name in names if _holds_folders(root / name)]
        if len(there) > 1:
            raise UserError(f"{there[0]} and {there[1]} are both the {split} images; remove one")
        if there:
            found[split] = there[0]
    if not found:
        return {"train": root}
    if "train" not in found:
        other = next(iter(found.values()))
        raise UserError(
            f"{other} holds folders, but there are none in {root / 'train'}; move the folders of "
            "the training images there"
        )
    others = [path.name for path in _list_folder(root) if path not in found.values()]
    if others:
        _LOG.warning(
            "%s: beside %s, these are not read: %s",
            root,
            ", ".join(path.name for path in found.values()),
            _shorten(others),
        )
    return found


def _holds_folders(folder: Path) -> bool:
    return folder.is_dir() and any(path.is_dir() for path in _list_folder(folder))


def _list_folder(folder: Path) -> list[Path]:
    """Lists what a folder holds, sorted, without hidden files and leftovers."""
    return sorted(path for path in folder.iterdir() if not _is_leftover(path.name))


def _is_leftover(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFTOVERS


class _Unread:
    """What a folder holds beside the images of its classes."""

    def __init__(self) -> None:
        self._found: dict[str, list[Path]] = collections.defaultdict(list)

    def add(self, path: Path, kind: str) -> None:
        """Adds a file or folder of a kind."""
        self._found[kind].append(path)

    def add_leftover(self, path: Path) -> bool:
        """Adds a file or folder if its name says that it is a leftover; tells whether it is."""
        if _is_leftover(path.name):
            self.add(path, "hidden files and leftovers of other programs")
            return True
        return False

    def log(self, folder: Path) -> None:
        """Logs how many there are of each kind."""
        for kind, paths in self._found.items():
            _LOG.info("%s: %d %s are not read, such as %s", folder, len(paths), kind, paths[0])


def _list_classes(folder: Path, suffixes: frozenset[str]) -> dict[str, list[Path]]:
    """Lists the images of each class, sorted; logs what is not read."""
    classes: dict[str, list[Path]] = {}
    unread = _Unread()
    for entry in sorted(folder.iterdir()):
        if unread.add_leftover(entry):
            continue
        if entry.is_dir():
            classes[entry.name] = _list_images(entry, suffixes, unread)
        else:
            unread.add(entry, f"files beside the folders of the classes in {folder}")
    unread.log(folder)
    if not classes:
        raise UserError(f"{folder} holds no folder of a class; put images in {folder}/CLASS/")
    for name, paths in classes.items():
        if not paths:
            raise UserError(f"{folder / name} holds no image; add some, or remove the folder")
    return classes


def _list_images(folder: Path, suffixes: frozenset[str], unread: _Unread) -> list[Path]:
    """Lists the images below the folder of a class, sorted.

    Raises:
        OSError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    images = []
    seen = {os.path.realpath(folder)}
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        below = [path for name in folders if not unread.add_leftover(path := Path(place, name))]
        folders.clear()
        for path in below:
            # A link may lead back to a folder above.
            if (target := os.path.realpath(path)) in seen:
                unread.add(path, "links to folders that are read already")
            else:
                seen.add(target)
                folders.append(path.name)
        for path in (Path(place, name) for name in names):
            if unread.add_leftover(path):
                continue
            if path.suffix.lower() in suffixes:
                images.append(path)
            else:
                unread.add(path, "files that are no images by their ending")
    return sorted(images)


def _shorten(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
