"""Registries: a package that holds one file for each idea of a kind (a loss, a network, …), found by the file's name.

Files that begin with `_` are helpers. So a person adds an idea by adding a file. A file with a mistake is answered in
one line, with the line of the file where Python says it.
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
    """The ideas in a package, sorted: its modules but those that begin with `_` or are among `helpers`.

    `path` is the package's `__path__`. Nothing is imported.
    """
    found = (module.name for module in pkgutil.iter_modules(path))
    return sorted(name for name in found if not name.startswith("_") and name not in helpers)


def module(package: str, name: str, available: Collection[str], needs: Collection[str]) -> Any:
    """The module of the idea `name` in `package`, which must define the names in `needs`.

    Raises StudyError if `name` is not `available`, if its file cannot be imported, or if it lacks a name.
    """
    if name not in available:
        kind = package.rpartition(".")[2]
        raise StudyError(f"{name!r} is not one of {kind}; there are {', '.join(available)}")
    found = imported(f"{package}.{name}")
    _refuse_lack(_file(package, name), needs, vars(found))
    return found


def imported(name: str) -> Any:
    """The module of that dotted name. Raises StudyError, with file and line, if an import of it fails."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        path = _file(*name.rsplit(".", 1))
        if path.is_file():
            parsed(path)  # says where, if the mistake is one of syntax
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
        where = from_root(path) + (f", line {lines[-1]}" if lines else "")
        if isinstance(error, StudyError):
            raise StudyError(f"{where}: {error}") from None
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise StudyError(f"{where}: importing it fails ({reason}); correct it") from error


def look(package: str, name: str, needs: Collection[str]) -> dict[str, ast.stmt]:
    """What the file of the idea `name` defines at its top, by name, read without importing it.

    Raises StudyError if there is no such file, if it is not valid Python, or if it lacks one of the names in `needs`.
    """
    path = _file(package, name)
    if not path.is_file():
        raise StudyError(f"{from_root(path)} does not exist; write it, with {' and '.join(needs)}")
    found = _defined(parsed(path).body)
    if "*" not in found:
        _refuse_lack(path, needs, found)
    return found


def file_of(package: str, name: str) -> str:
    """The file of the idea `name` in `package`, as a path from the root of the project."""
    return f"{package.replace('.', '/')}/{name}.py"


def _file(package: str, name: str) -> Path:
    """Where the file is, or would be."""
    spec = find_spec(f"{package}.{name}")
    found = None if spec is None else spec.origin
    return Path(found or Path(importlib.import_module(package).__path__[0]) / f"{name}.py")


def _refuse_lack(path: Path, needs: Collection[str], found: Collection[str]) -> None:
    absent = [name for name in needs if name not in found]
    if absent:
        raise StudyError(f"{from_root(path)} has no {' and no '.join(absent)}; add it, as in the files beside it")


def _defined(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Name → the last statement that binds it; `*` if a star import may bind any."""
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
