"""A process that dies with the one that started it.

`kill -9` of `dvc repro` leaves the stage's process running. A second `dvc repro` would then train the
same model beside it, both would write, and DVC would cache the mixture as valid.
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
    """Watch, from a thread, the process that started this one; kill this one when it is gone.

    The shell that DVC wraps a command in outlives DVC, so where the parent is a shell its parent is watched too.
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
