"""Caches UMAP's compiled functions on disk: only the first of many processes then spends half a minute on compiling."""

from __future__ import annotations

import sys


def keep_compiled(*packages: str) -> None:
    """Let numba cache all compiled functions of these packages, which must be imported already.

    The packages turn on caching for few functions only. The cache is next to the source files, or in NUMBA_CACHE_DIR.
    It holds the compiled code, so results do not change.
    """
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in packages:
            for function in vars(module).values():
                if isinstance(function, Dispatcher) and function.py_func.__module__ == name:
                    function.enable_caching()
