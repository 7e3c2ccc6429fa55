"""Faults of processes and disks: killed at any moment, twice at once, without a parent, no space left."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

from bench.faults.answers import Fault, answered
from bench.faults.study import arguments, contents, run_stage, start
from robustness_study.core.imports import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def killed(rng: random.Random) -> Iterator[Fault]:
    """A stage that is killed at any moment; then it runs again, and gives the same bytes."""
    for stage in ("download", "split", "corrupt", "suite", "train", "evaluate", "attack", "stress", "embed", "compare"):
        for _ in range(2):

            def answer(top: Path, stage: str = stage, share: float = rng.random()) -> str:
                before = contents(top)
                began = time.monotonic()
                run_stage(top, arguments(stage))
                took = time.monotonic() - began
                child = start(top, arguments(stage))
                time.sleep(share * took)
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return answered(top, before, stage)

            yield Fault("killed", stage, answer)


def real(top: Path, stage: str) -> subprocess.Popen[str]:
    """A stage in a process of its own, as DVC starts it."""
    command = [sys.executable, "-m", f"stages.{stage}", *arguments(stage)[1:]]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen(command, cwd=top, env=ENVIRONMENT, **quiet)


def twice(rng: random.Random) -> Iterator[Fault]:
    """The same stage started twice at the same time: the second one is refused, and the first one ends well."""
    for stage in ("train", "evaluate", "attack", "suite"):

        def answer(top: Path, stage: str = stage) -> str:
            before = contents(top)
            first, until = real(top, stage), time.monotonic() + 60
            lock = f"process {first.pid}\n"
            while not any(lock == path.read_text(encoding="utf-8") for path in (top / ".locks").glob(f"{stage}*")):
                if first.poll() is not None or time.monotonic() > until:
                    return f"unclear: no lock: {first.communicate()[1]}"
                time.sleep(0.002)
            os.kill(first.pid, signal.SIGSTOP)  # so that it is still there when the second one begins
            second = real(top, stage)
            said = second.communicate(timeout=120)[1]
            os.kill(first.pid, signal.SIGCONT)
            first.communicate(timeout=120)
            good = f"is running already, in process {first.pid}" in said
            good &= (first.returncode, second.returncode) == (0, 1)
            return "same results" if good and contents(top) == before else "believed"

        yield Fault("twice at once", stage, answer)


def is_gone(process: int) -> bool:
    """Whether a process has ended. One that ended and that nobody asked about is still listed, as a zombie (Z)."""
    try:
        return ") Z " in Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return True


def orphans(rng: random.Random) -> Iterator[Fault]:
    """A stage whose parent is killed, while it imports or computes: it ends, and the results are as before."""
    for stage, delay in product(("train", "attack", "embed", "suite"), (0.3, 3.0)):

        def answer(top: Path, stage: str = stage, delay: float = delay) -> str:
            before = contents(top)
            command = " ".join([sys.executable, "-m", f"stages.{stage}", *arguments(stage)[1:]])
            code = (
                f"import subprocess; c = subprocess.Popen({command!r}, shell=True); print(c.pid, flush=True); c.wait()"
            )
            with subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=top,
                env=ENVIRONMENT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
            ) as parent:
                assert parent.stdout is not None
                child = int(parent.stdout.readline())
                time.sleep(delay)
                parent.kill()
                for _ in range(100):
                    if is_gone(child):
                        return "same results" if contents(top) == before else "believed"
                    time.sleep(0.1)
            return "hang"

        yield Fault("parent killed", f"{stage}, after {delay} s", answer)


def full_disk(rng: random.Random) -> Iterator[Fault]:
    """Files cannot grow beyond some bytes: what a stage had written stays whole, and the line names the file."""

    def limited(size: int) -> Callable[[], None]:
        def prepare() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

        return prepare

    for stage in (
        "download",
        "split",
        "corrupt",
        "training_set",
        "suite",
        "train",
        "evaluate",
        "attack",
        "stress",
        "embed",
    ):
        for size in (500, 20_000):

            def answer(top: Path, stage: str = stage, size: int = size) -> str:
                before = contents(top)
                return answered(top, before, stage, prepare=limited(size))

            yield Fault("full disk", f"{stage}, {size} bytes", answer)
