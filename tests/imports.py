"""Which of the project's files a stage really runs: its imports, followed through the project."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent


def project_imports(path: Path) -> set[str]:
    """The project files that `path` imports, directly or not, itself included, as posix paths.

    Imports inside functions count, those for type checkers alone do not; a package's `__init__.py`
    counts if it holds more than a docstring.
    """
    found: set[str] = set()
    waiting = [path]
    while waiting:
        current = waiting.pop()
        name = current.relative_to(ROOT).as_posix()
        if name in found:
            continue
        found.add(name)
        waiting += [file for module in _imported(current) for file in _files(module)]
    return {name for name in found if not _only_docstring(ROOT / name)}


def _imported(path: Path) -> set[str]:
    modules = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:  # never runs
            continue
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: a relative import, which this does not follow"
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def _files(module: str) -> list[Path]:
    """The files that importing `module` runs: its own and its packages'."""
    files = []
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:length])
        files += [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
    return files


def _only_docstring(path: Path) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)
