"""Finds the project files that a Python file imports, directly or through other project files.

The fingerprint of a checkpoint and the stage `check` hash exactly these files.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from robustness_study.core.errors import StudyError

ROOT = Path(__file__).resolve().parents[2]  # top of the repository, or the folder in which the library is installed


def project_imports(*paths: Path) -> set[str]:
    """The project files that `paths` import, directly or indirectly, and `paths` themselves.

    They are returned as posix paths from the root. Imports inside functions count. Three things do not count: imports
    for type checkers only, files with only a docstring (most `__init__.py` files), and modules that are loaded by
    name at run time.

    Raises StudyError, with file and line, if a file is not valid Python or has a relative import.
    """
    found: set[Path] = set()
    waiting = list(paths)
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting += [file for module in _imported(current) for file in _files(module)]
    return {path.relative_to(ROOT).as_posix() for path in found if not only_docstring(path)}


def code_digest(paths: Iterable[str]) -> str:
    """SHA-256, in hexadecimal, of the names and contents of these files. `paths` are as `project_imports` returns."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        content = (ROOT / path).read_bytes()
        digest.update(f"{path} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def digest_lines(paths: Iterable[str]) -> str:
    """A line for each file: the SHA-256 of its bytes, in hexadecimal, two spaces, its path; as `sha256sum` prints."""
    return "".join(f"{hashlib.sha256((ROOT / path).read_bytes()).hexdigest()}  {path}\n" for path in sorted(paths))


def changed_files(lines: str) -> list[str]:
    """The paths in text of `digest_lines` whose files are not as they were then, or are gone."""
    paths = [line.partition("  ")[2] for line in lines.splitlines()]
    now = digest_lines(path for path in paths if (ROOT / path).is_file())
    return [line.partition("  ")[2] for line in lines.splitlines() if f"{line}\n" not in now]


def parsed(path: Path) -> ast.Module:
    """The syntax tree of a Python file. Imports nothing. Raises StudyError, with file and line, if it is not valid."""
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        line = f", line {error.lineno}," if error.lineno else ""
        raise StudyError(f"{from_root(path)}{line} is not valid Python ({error.msg}); correct it") from None
    except ValueError as error:  # a null byte, before Python 3.12
        raise StudyError(f"{from_root(path)} is not valid Python ({error}); correct it") from None


def from_root(path: Path) -> str:
    """The path of the file from the root of the project, or `path` itself if the file is elsewhere."""
    return (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path).as_posix()


def _imported(path: Path) -> frozenset[str]:
    return _modules(path, path.read_bytes())


@cache
def _modules(path: Path, content: bytes) -> frozenset[str]:
    """The modules that the file imports. With its content in the key, a file that changed is read again."""
    modules = set()
    tree = parsed(path)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:  # for type checkers only: this import never runs
            continue
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise StudyError(
                    f"{from_root(path)}, line {node.lineno}: relative imports are not allowed; write the full name "
                    "of the module, for example `from robustness_study.core import seeds`"
                )
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(modules)


def _files(module: str) -> list[Path]:
    """The project files that Python runs to import `module`: its own file and the `__init__.py` of its packages."""
    files = []
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        base = ROOT.joinpath(*parts[:length])
        files += [file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file()]
    return files


def only_docstring(path: Path) -> bool:
    """Whether a Python file has no code: at most texts."""
    return _no_code(path, path.read_bytes())


@cache
def _no_code(path: Path, content: bytes) -> bool:
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in parsed(path).body)
