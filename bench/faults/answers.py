"""A fault, and how a stage answered it.

A fault is answered right if the stage that meets it ends with one line that says what to do, or if its results are the
bytes that it gives without the fault. Wrong are results that differ without a word, tracebacks, and stages that never
end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.faults.study import Done, arguments, contents, run_stage

RIGHT = ("refused", "same results")
MOST_CHARACTERS = 320  # of an answer: 300, and "error: " with a line end


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, what it is, and a function that injects it and returns how it was answered."""

    kind: str
    name: str
    answer: Callable[[Path], str]


def as_said(done: Done) -> str | None:
    """How a stage that did not end well answered; None if it did."""
    if done.status is None:
        return "hang"
    if done.status == 0:
        return None
    lines = done.said.strip().splitlines()
    if len(lines) == 1 and lines[0].startswith("error: ") and len(done.said) <= MOST_CHARACTERS:
        return "refused"
    return "traceback" if "Traceback" in done.said else f"unclear: {done.said.strip()[-200:]!r}"


def answered(top: Path, before: dict[str, bytes], stage: str, **options: Any) -> str:
    """Run a stage in a study with a fault; how it was answered. `before` are the study's files with the fault in."""
    done = run_stage(top, arguments(stage), **options)
    return as_said(done) or ("same results" if contents(top) == before else "believed")
