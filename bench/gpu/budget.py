"""Runs parts of a program within a time budget. What each part found is kept as it ends, so that a stop costs one part.

A part that fails stops no other. A part is stopped when the time is up; those after it are named as skipped.
"""

from __future__ import annotations

import gc
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch

from robustness_study.core.errors import StudyError, one_line, shortened


class TimeUpError(BaseException):
    """The time is up. No `except Exception` within a part may take it for a fault of the part."""


@dataclass(frozen=True)
class Part:
    """One measurement. It starts if at least `least_s` seconds are left, and is stopped after `most_s`."""

    name: str
    least_s: float
    work: Callable[[], Any]
    most_s: float = math.inf


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeUpError in the `with` block, in the main thread, when the seconds have passed."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeUpError

    handler = signal.signal(signal.SIGALRM, ring)
    outer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *outer)
        signal.signal(signal.SIGALRM, handler)


def outcome(part: Part, left_s: float) -> dict[str, Any]:
    """What came of a part: its `state` (done, failed, stopped, skipped), its seconds, and its result or the reason."""
    if left_s < part.least_s:
        return {"state": "skipped", "reason": f"{left_s:.0f} s were left; it needs {part.least_s:.0f} s"}
    started = time.monotonic()
    found: dict[str, Any]
    try:
        with time_limit(min(left_s, part.most_s)):
            found = {"state": "done", "result": part.work()}
    except TimeUpError:
        found = {"state": "stopped", "reason": f"it was not done after {min(left_s, part.most_s):.0f} s"}
    except Exception as error:  # whatever it is, the other parts still have their time
        found = {"state": "failed", "reason": reason_of(error)}
    return found | {"seconds": round(time.monotonic() - started, 1)}


def start_afresh() -> None:
    """Free the device's memory, and forget what was compiled.

    torch compiles a function for at most eight models in one process, and runs it uncompiled for others.
    """
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def reason_of(error: Exception) -> str:
    """An error's class and text as one line."""
    kind = "" if isinstance(error, StudyError) else f"{type(error).__name__}: "
    return shortened(one_line(kind + " ".join(str(error).split())))


def run_parts(parts: Sequence[Part], seconds: float, keep: Callable[[str, dict[str, Any]], None]) -> list[str]:
    """Run the parts in order; give the name and outcome of each to `keep`. Returns the names of those not done."""
    ends, missing = time.monotonic() + seconds, []
    for part in parts:
        print(f"--- {part.name}", flush=True)
        found = outcome(part, ends - time.monotonic())
        keep(part.name, found)
        if found["state"] != "done":
            missing.append(part.name)
            print(f"{part.name}: {found['state']}: {found['reason']}", flush=True)
        start_afresh()
    return missing
