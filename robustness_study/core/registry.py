"""Finds ideas (losses, networks, …) by file name. A package holds one kind of idea, with one file for each idea.

To add an idea, add a file. Files with a name that begins with `_` are helpers. If a file has a mistake, the error is
one line that gives the file and the line number.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import traceback
from collections.abc import Collection, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from robustness_study.core.errors import StudyError
from robustness_study.core.imports import from_root, parsed


def names(path: Iterable[str], helpers: Collection[str] = ()) -> list[str]:
    """The sorted names of the ideas in a package: its modules without helpers. Imports nothing.

    `path` is the `__path__` of the package. Helpers are the modules in `helpers` and those that begin with `_`.
    """
    found = (module.name for module in pkgutil.iter_modules(path))
    return sorted(name for name in found if not name.startswith("_") and name not in helpers)


def module(package: str, name: str, available: Collection[str], needs: Collection[str]) -> Any:
    """The imported module of the idea `name` in `package`.

    Raises StudyError if `name` is not in `available`, if its file cannot be imported, or if the file does not define
    all names in `needs`.
    """
    if name not in available:
        kind = package.rpartition(".")[2]
        raise StudyError(f"{name!r} does not exist in {kind}; choose one of {', '.join(available)}")
    found = imported(f"{package}.{name}")
    _check_defined(_file(package, name), needs, vars(found))
    return found


def imported(name: str) -> Any:
    """The imported module with this dotted name. Raises StudyError, with file and line, if the import fails."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        path = _file(*name.rsplit(".", 1))
        if path.is_file():
            parsed(path)  # for a syntax error, this raises StudyError with the line
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        where = from_root(path) + (f", line {lines[-1]}" if lines else "")
        if isinstance(error, StudyError):
            raise StudyError(f"{where}: {error}") from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise StudyError(f"{where}: the import fails ({reason}); correct the file") from error


def look(package: str, name: str, needs: Collection[str]) -> dict[str, ast.stmt]:
    """The names that the file of the idea `name` defines at top level → their statements. Imports nothing.

    Raises StudyError if the file does not exist, if it is not valid Python, or if it does not define all names in
    `needs`.
    """
    path = _file(package, name)
    if not path.is_file():
        raise StudyError(f"{from_root(path)} does not exist; create it and define {' and '.join(needs)} in it")
    found = _defined(parsed(path).body)
    if "*" not in found:
        _check_defined(path, needs, found)
    return found


def file_of(package: str, name: str) -> str:
    """The path from the root of the project of the file of the idea `name` in `package`."""
    return f"{package.replace('.', '/')}/{name}.py"


def _file(package: str, name: str) -> Path:
    """The path of the file, whether the file exists or not."""
    spec = find_spec(f"{package}.{name}")
    found = None if spec is None else spec.origin
    return Path(found or Path(importlib.import_module(package).__path__[0]) / f"{name}.py")


def _check_defined(path: Path, needs: Collection[str], found: Collection[str]) -> None:
    missing = [name for name in needs if name not in found]
    if missing:
        raise StudyError(
            f"{from_root(path)} does not define {' and '.join(missing)}; add it, as in the other files of its folder"
        )


def _defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Name → the last statement that defines it. The key `*` stands for a star import, which may define any name."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found[name] = node
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                found |= {alias.asname or alias.name.split(".")[0]: node for alias in aliases}
            case ast.Assign() | ast.AnnAssign():
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                inner = (each for target in targets for each in ast.walk(target))
                found |= {each.id: node for each in inner if isinstance(each, ast.Name)}
            case ast.If() | ast.Try() | ast.With():
                parts = [getattr(node, part, []) for part in ("body", "orelse", "finalbody")]
                parts += [handler.body for handler in getattr(node, "handlers", [])]
                for part in parts:
                    found |= _defined(part)
    return found
