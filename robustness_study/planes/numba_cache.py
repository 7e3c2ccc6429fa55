"""Caches UMAP's compiled functions on disk: only the first of many processes then spends half a minute on compiling."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from robustness_study.core.errors import StudyError

PACKAGES = ("umap", "pynndescent")
VARIABLE = "NUMBA_CACHE_DIR"
FOLDER = Path(".numba_cache")  # in the repository


def ensure_folder() -> None:
    """Let numba cache in `FOLDER` if it can write to none of the places that it tries by itself.

    Without a cache, `PACKAGES` cannot even be imported. Call this before numba is imported. It does not import it, so
    `check` can call it before any model is trained. Raises StudyError if `FOLDER` cannot be written to either.
    """
    if any(all(_writable(folder) for folder in folders) for folders in _tried_by_numba()):
        return
    if not _writable(FOLDER):
        raise StudyError(
            f"numba has no place for its cache: the environment, the home directory and {FOLDER} cannot be written to; "
            f"set {VARIABLE} to a folder that can"
        )
    os.environ[VARIABLE] = str(FOLDER.absolute())


def _tried_by_numba() -> Iterator[list[Path]]:
    if given := os.environ.get(VARIABLE):
        yield [Path(given)]
    specs = [find_spec(name) for name in PACKAGES]
    yield [Path(spec.origin).parent / "__pycache__" for spec in specs if spec and spec.origin]
    if sys.platform == "darwin":
        home = os.path.expanduser("~/Library/Caches")
    else:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if os.path.isabs(home):  # it is not if the home directory is unknown
        yield [Path(home) / "numba"]


def _writable(folder: Path) -> bool:
    # For root, and on a disk that can only be read, the permissions do not tell. So a file is made, as numba does.
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def keep_compiled(*packages: str) -> None:
    """Let numba cache all compiled functions of these packages, which must be imported already.

    The packages turn on caching for few functions only. The cache holds compiled code, so results do not change.
    """
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in packages:
            for function in vars(module).values():
                if isinstance(function, Dispatcher) and function.py_func.__module__ == name:
                    function.enable_caching()
