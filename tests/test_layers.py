"""The order of rooms: which may import which, and that no file imports in a circle."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

from tests.helpers.paths import ROOT

PACKAGE = ROOT / "lelp_jax"

# From the bottom to the top. A room is a folder; the `__init__` of one that lists what is in it by
# name, its registry, comes after the rooms below it. Every room may import `core` and itself.
ALLOWED = {
    "core": [],
    "augmentation": [],
    "cli": [],
    "presets": [],
    "storage": [],
    "data": [],
    "data/reading": ["data"],
    "data/sources": ["data", "data/reading"],
    "data/sources/images": ["data", "data/reading", "data/sources"],
    "data registry": ["data", "data/sources", "data/sources/images"],
    "models": [],
    "models/convolutional": ["models"],
    "models/encoder": ["models"],
    "models/pretrained": ["models/encoder"],
    "models registry": ["models", "models/convolutional", "models/encoder"],
    "inputs": ["data", "data/reading", "models", "models/encoder", "models/pretrained"],
    "inputs registry": ["inputs"],
    "projection/engine": ["storage"],
    "projection": ["data", "projection/engine"],
    "projection registry": ["projection"],
    "methods": ["models", "projection"],
    "methods registry": ["methods"],
    "train": ["augmentation", "data", "methods", "models", "projection", "projection/engine"],
    "teachers": [
        *("augmentation", "data", "inputs", "inputs registry", "methods", "models"),
        *("models registry", "models/encoder", "models/pretrained", "projection/engine"),
        *("storage", "train"),
    ],
    "teachers registry": ["data", "teachers", "train"],
    "bank": ["augmentation", "data", "storage", "teachers"],
    "experiment": [
        *("augmentation", "bank", "data", "data registry", "inputs registry", "methods"),
        *("methods registry", "models", "models registry", "models/encoder"),
        "models/pretrained",
        *("teachers", "teachers registry", "train"),
    ],
    "students": [
        *("bank", "data", "experiment", "methods", "models registry", "projection"),
        *("projection/engine", "storage", "teachers", "train"),
    ],
    "references": ["data", "experiment", "models", "students", "train"],
    "deploy": [
        *("experiment", "inputs registry", "methods", "methods registry", "models"),
        *("models registry", "students"),
    ],
    "deploy/targets": [
        *("cli", "data", "methods", "methods registry", "projection", "projection registry"),
        *("projection/engine", "storage", "teachers"),
    ],
    "answering": ["bank", "cli", "data", "data/reading", "inputs", "storage"],
    "report/results": [
        *("augmentation", "data", "experiment", "inputs registry", "methods", "references"),
        "students",
    ],
    "report/figures": [
        *("data", "experiment", "report/results", "students", "teachers", "train"),
    ],
    "report/diagnostics": [
        *("bank", "data", "methods registry", "models", "projection", "projection registry"),
        *("projection/engine", "report/results", "storage"),
    ],
    "report/explorer": [
        *("bank", "data", "projection", "projection/engine", "report/diagnostics"),
        "report/results",
    ],
    "report": [
        *("bank", "data", "experiment", "methods", "references", "report/diagnostics"),
        *("report/explorer", "report/figures", "report/results", "students", "teachers", "train"),
    ],
    "pipeline": [
        *("bank", "data", "data registry", "deploy", "experiment", "references", "report"),
        *("storage", "students"),
    ],
    "main": ["cli", "experiment", "pipeline", "report/results"],
    "project": ["cli", "deploy/targets"],
    "answer": ["answering", "cli"],
}


def module(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room(name: str) -> str:
    """Returns the folder of a module below the package, or the module for those at the top."""
    path = FILES[name].relative_to(PACKAGE)
    folder = "/".join(path.parts[:-1])
    if not folder:
        return path.stem
    registry = f"{folder} registry"
    return registry if path.name == "__init__.py" and registry in ALLOWED else folder


def imports(name: str) -> Iterator[str]:
    """Yields the modules of the package that a module imports, inside of functions, too."""
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            assert not any(alias.name.startswith("lelp_jax") for alias in node.names), name
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lelp_jax"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in FILES else str(node.module)


def test_rooms_import_what_the_table_allows() -> None:
    found = [
        f"{name} imports {other}"
        for name in FILES
        if room(name) not in ("version", "__init__")
        for other in imports(name)
        if room(other) not in (room(name), "core", *ALLOWED[room(name)])
    ]
    assert not found, "\n".join(found)


def test_the_table_allows_nothing_that_no_file_needs() -> None:
    used: dict[str, set[str]] = {name: set() for name in ALLOWED}
    for name in FILES:
        if room(name) in used:
            used[room(name)] |= {room(other) for other in imports(name)}
    spare = {name: set(allowed) - used[name] for name, allowed in ALLOWED.items()}
    assert not {name: others for name, others in spare.items() if others}


def test_no_file_imports_in_a_circle() -> None:
    graph = {name: {other for other in imports(name) if other != name} for name in FILES}
    # Raises CycleError, which names the circle.
    tuple(graphlib.TopologicalSorter(graph).static_order())


def test_rooms_import_in_one_direction() -> None:
    graph = {name: {"core", *allowed} - {name} for name, allowed in ALLOWED.items()}
    tuple(graphlib.TopologicalSorter(graph).static_order())
