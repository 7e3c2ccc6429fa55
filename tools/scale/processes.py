"""Runs DVC in a process that can be interrupted, and turns signals into interrupts."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tools import workspace

DVC = (sys.executable, "-m", "tools.scale.fast_dvc", "--wait-for-lock")


def show(line: str) -> None:
    """Print a line of DVC's as it is."""
    print(line, end="", flush=True)


class Runner:
    """Runs `dvc repro` in a repository, from several threads, until `stop` is called."""

    def __init__(self, root: Path) -> None:
        self.root, self.stopped = root, False
        self.running: set[subprocess.Popen[str]] = set()

    def repro(self, arguments: Sequence[str], settings: dict[str, str], told: Callable[[str], None] = show) -> bool:
        """Run `dvc repro`, give each line of its output to `told`, and return whether it succeeded."""
        return self.dvc(["repro", *arguments], settings, told)

    def dvc(self, arguments: Sequence[str], settings: dict[str, str], told: Callable[[str], None] = show) -> bool:
        """The same with any command of DVC."""
        if self.stopped:
            return False
        with subprocess.Popen(
            [*DVC, *arguments],
            cwd=self.root,
            env={**workspace.environment(), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",  # names of files can hold any bytes
            start_new_session=True,  # so that `stop` interrupts DVC and the stage's command together, once
        ) as process:
            self.running.add(process)
            while self.stopped and process.poll() is None:  # `stop` was called while the process started
                self.stop()  # a process that is starting can miss it
                time.sleep(0.5)
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    told(line)
            self.running.discard(process)
            return process.wait() == 0

    def stop(self) -> None:
        """Start no further stage, and interrupt the running ones.

        The signal goes to DVC and to the stage's command, because DVC ignores it while a command runs. DVC can also
        miss an interrupt between two commands, so `stop` may be called again.
        """
        self.stopped = True
        for process in list(self.running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP, even if a shell's `&` made the process ignore interrupts.

    SIGHUP stays ignored if it was, as under `nohup`.
    """
    signals = [signal.SIGINT, signal.SIGTERM]
    signals += [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    before = {each: signal.signal(each, signal.default_int_handler) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
