"""Ends this process when the process that started it ends.

`kill -9` on `dvc repro` leaves the process of the stage running. A second `dvc repro` would then train the same model
at the same time. Both would write files, and DVC would cache the mixture as valid.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

INTERVAL_S = 0.5
SHELLS = ("sh", "bash", "dash", "zsh", "fish", "ksh")


def die_with_parent() -> None:
    """Start a thread that kills this process when the process that started it is gone.

    DVC runs a command in a shell, and the shell survives DVC. So if the parent is a shell, the thread also watches
    the parent of the shell.
    """
    import psutil

    watched, process = [], psutil.Process()
    while (parent := process.parent()) is not None:
        watched.append((process, parent))
        if parent.name() not in SHELLS:
            break
        process = parent
    threading.Thread(target=_watch, args=(watched,), name="die with parent", daemon=True).start()


def _watch(watched: list[tuple[psutil.Process, psutil.Process]]) -> None:
    import psutil

    while True:
        for child, parent in watched:
            try:
                orphaned = not parent.is_running() or child.ppid() != parent.pid
            except psutil.Error:
                orphaned = True
            if orphaned:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(INTERVAL_S)
