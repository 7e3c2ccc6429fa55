"""Keep what numba compiles of UMAP on disk, so that only the first process of many spends half a minute on it."""

from __future__ import annotations

import sys


def keep_compiled(*packages: str) -> None:
    """Cache the compiled functions of imported packages, beside their sources or in NUMBA_CACHE_DIR, as numba does.

    They cache but few themselves. What comes from the cache is the code that was compiled, so results are the same.
    """
    from numba.core.dispatcher import Dispatcher

    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in packages:
            for function in vars(module).values():
                if isinstance(function, Dispatcher) and function.py_func.__module__ == name:
                    function.enable_caching()
