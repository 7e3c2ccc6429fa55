"""Registries: a package that holds one file for each idea of a kind (a loss, a network, …), found by the file's name.

Files that begin with `_` are helpers. So a person adds an idea by adding a file.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection, Iterable
from typing import Any

from robustness_study.core.errors import StudyError


def names(path: Iterable[str], helpers: Collection[str] = ()) -> list[str]:
    """The ideas in a package, sorted: its modules but those that begin with `_` or are among `helpers`.

    `path` is the package's `__path__`. Nothing is imported.
    """
    found = (module.name for module in pkgutil.iter_modules(path))
    return sorted(name for name in found if not name.startswith("_") and name not in helpers)


def module(package: str, name: str, available: Collection[str]) -> Any:
    """The module of the idea `name` in `package`. Raises StudyError if `name` is not `available`."""
    if name not in available:
        kind = package.rpartition(".")[2]
        raise StudyError(f"{name!r} is not one of {kind}; there are {', '.join(available)}")
    return importlib.import_module(f"{package}.{name}")


def file_of(package: str, name: str) -> str:
    """The file of the idea `name` in `package`, as a path from the root of the project."""
    return f"{package.replace('.', '/')}/{name}.py"
