"""Keeps two processes from writing the same outputs at the same time."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from robustness_study.core.errors import StudyError

TOP = Path(".locks")
ONE_OUTPUT = ("headline", "stability", "transfer")  # they write the same files whatever their arguments are
ARGUMENTS = ("loss", "train-set", "seed", "split")  # of stages, in the order of the name of a lock
PATIENCE_S = 10.0  # when the parent of a stage is killed, the stage needs a moment to end too


@contextmanager
def held(name: str, patience_s: float = PATIENCE_S, top: Path = TOP) -> Iterator[None]:
    """Keep every other process that asks for the same `name` waiting while the `with` block runs.

    Waits up to `patience_s` seconds for another process; then raises StudyError, which names that process. The
    operating system releases the lock when the process ends, however it ends. The lock file stays: it holds the
    number of the process that has the lock, or had it last. It lies in the folder `top`.
    """
    from filelock import FileLock, Timeout

    top.mkdir(exist_ok=True)
    holder = top / f"{name}.lock"
    try:
        lock = FileLock(holder).acquire(timeout=patience_s)
    except Timeout:
        other = holder.read_text(encoding="utf-8").strip() or "another process"
        raise StudyError(
            f"{name} is running already, in {other}, and writes the same files; wait for it or stop it"
        ) from None
    with lock:
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same, without a name
            holder.write_text(f"process {os.getpid()}\n", encoding="utf-8")
        yield


def stage_of(main: Callable[[], object]) -> str | None:
    """The name of the stage whose `main` this is; None for any other program."""
    spec = getattr(main, "__globals__", {}).get("__spec__")  # names the stage also where it runs as `__main__`
    package, _, stage = (spec.name if spec else "").rpartition(".")
    return stage if package == "stages" else None


def of_stage(main: Callable[[], object]) -> AbstractContextManager[None]:
    """`held` for the outputs of the stage whose `main` this is; for any other program a context without effect.

    The arguments decide the outputs of most stages, so they are in the name: `attack-angular-clean-0`.
    """
    if (stage := stage_of(main)) is None:
        return nullcontext()
    if stage in ONE_OUTPUT:
        return held(stage)
    given = re.findall(r"--([\w-]+)[ =](\S+)", " ".join(sys.argv[1:]))
    found = {name: str(int(value)) if value.isdecimal() else value.replace("/", "_") for name, value in given}
    return held("-".join([stage, *(found[name] for name in ARGUMENTS if name in found)]))
