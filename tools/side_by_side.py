"""`python -m tools.side_by_side`: what `dvc repro` does, with several models at work at once.

DVC runs a stage at a time, but several of its processes can share a repository, each at a stage of its own. Stages
that serve every model come first; then each model's own, from training to its UMAP, one model a job; then what compares
them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tools import workspace

DVC = ("dvc", "--wait-for-lock")
FIRST_OF_A_MODEL = "train@"
BEFORE, AFTER = "a stage before the models", "a stage after the models"


@dataclass(frozen=True)
class Plan:
    """Names of stages: those before any model, and each model's own, by LOSS-TRAINSET-SEED."""

    before: list[str]
    models: dict[str, list[str]]


def plan(names: Sequence[str]) -> Plan:
    """Sort the stages' names, which are in dvc.yaml's order; what is in neither part is left to `dvc repro`."""
    trained = [name for name in names if name.startswith(FIRST_OF_A_MODEL)]
    keys = [name.removeprefix(FIRST_OF_A_MODEL) for name in trained]
    models = {key: [name for name in names if name.partition("@")[2] == key] for key in keys}
    return Plan(list(names[: names.index(trained[0])]) if trained else [], models)


def cores() -> int:
    """How many of the processor's cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(jobs: int, gpus: Sequence[str], of_cores: int) -> list[dict[str, str]]:
    """What to set in the environment of each job: its share of the cores, and its GPU where some are named."""
    share = {"OMP_NUM_THREADS": str(max(1, of_cores // (len(gpus) or jobs)))}
    return [share | {"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [share] * jobs


class Runner:
    """Runs `dvc repro` in a repository, from several threads, until it is told to stop."""

    def __init__(self, root: Path) -> None:
        self.root, self.stopped = root, False
        self.at_work: set[subprocess.Popen[str]] = set()

    def repro(self, arguments: Sequence[str], settings: dict[str, str], prefix: str = "") -> bool:
        """Print what it says line by line behind a prefix. Whether it succeeded."""
        if self.stopped:
            return False
        with subprocess.Popen(
            [*DVC, "repro", *arguments],
            cwd=self.root,
            env={**workspace.environment(), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # so that it and the stage's command can be told together, and once
        ) as process:
            self.at_work.add(process)
            if self.stopped:  # while it began
                self.stop()
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    print(prefix + line, end="", flush=True)
            self.at_work.discard(process)
            return process.wait() == 0

    def stop(self) -> None:
        """Start nothing more, and interrupt what is at work: DVC itself heeds no interrupt while a command runs.

        One that comes between two commands is lost on DVC, so it may be told again.
        """
        self.stopped = True
        for process in list(self.at_work):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)


def run(root: Path, environments: list[dict[str, str]]) -> list[str]:
    """Reproduce the whole pipeline of the repository at `root`, with as many jobs as there are `environments`.

    Returns what failed: models, or `BEFORE` or `AFTER`. A model that fails does not stop the others; what compares them
    is then left. On an interrupt it waits for what is at work to end; each further one is passed on.
    """
    runner = Runner(root)
    with ThreadPoolExecutor(1) as pool:  # so that this thread, which an interrupt comes to, owns no process
        failed = pool.submit(_run, runner, environments)
        while not failed.done():
            try:
                wait([failed])
            except KeyboardInterrupt:
                runner.stop()
    if runner.stopped:
        raise KeyboardInterrupt
    return failed.result()


def _run(runner: Runner, environments: list[dict[str, str]]) -> list[str]:
    listed = subprocess.run(
        ["dvc", "stage", "list", "--name-only"],
        cwd=runner.root, env=workspace.environment(), check=False, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        print(listed.stderr.strip(), file=sys.stderr)
        return [BEFORE]
    planned = plan(listed.stdout.split())
    if planned.before and not runner.repro(planned.before, {}):
        return [BEFORE]
    free: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for settings in environments:
        free.put(settings)

    def one(key: str) -> bool:
        settings = free.get()
        try:
            return runner.repro(["--single-item", *planned.models[key]], settings, f"{key}: ")
        finally:
            free.put(settings)

    with ThreadPoolExecutor(len(environments)) as pool:
        succeeded = dict(zip(planned.models, pool.map(one, planned.models), strict=True))
    failed = [key for key, good in succeeded.items() if not good]
    if failed:
        return failed
    return [] if runner.repro([], {}) else [AFTER]


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """KeyboardInterrupt where the process is told to end, also where a shell's `&` had interrupts ignored.

    A hangup is left to `nohup`.
    """
    told = [signal.SIGINT, signal.SIGTERM]
    told += [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    before = {each: signal.signal(each, signal.default_int_handler) for each in told}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def reproduce(root: Path, jobs: int, gpus: Sequence[str] = ()) -> int:
    """`run`, and in a line what became of it where it did not succeed. The exit status."""
    try:
        with interruptible():
            failed = run(root, slots(jobs, gpus, cores()))
    except KeyboardInterrupt:
        print("\nInterrupted. Type the same again to go on.", file=sys.stderr)
        return 130
    if failed:
        print(f"error: failed: {', '.join(failed)}; why stands above; mend it and type the same again", file=sys.stderr)
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.side_by_side", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--jobs", type=int, default=2, help="models at once, which share the processor's cores (2)")
    chosen.add_argument("--gpus", nargs="+", default=[], metavar="N", help="a model at a time on each of these GPUs")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}; at least 1 is needed")
    return reproduce(Path(), arguments.jobs, arguments.gpus)


if __name__ == "__main__":
    sys.exit(main())
