"""`python -m tools.side_by_side`: does what `dvc repro` does, but with several models at once.

One DVC process runs one stage at a time, but several DVC processes can work in one repository, each on another stage.
First come the stages that all models need. Then each job runs all stages of one model, from training to its UMAP plane.
Last come the stages that compare the models.
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

from robustness_study.core import program
from tools import workspace

DVC = ("dvc", "--wait-for-lock")
FIRST_OF_A_MODEL = "train@"
BEFORE, AFTER = "a stage before the models", "a stage after the models"


@dataclass(frozen=True)
class Plan:
    """Names of stages: those before all models, and those of each model, by its key LOSS-TRAINSET-SEED."""

    before: list[str]
    models: dict[str, list[str]]


def plan(names: Sequence[str]) -> Plan:
    """Divide the stages' names, given in dvc.yaml's order. The last `dvc repro` runs those in neither part."""
    trained = [name for name in names if name.startswith(FIRST_OF_A_MODEL)]
    keys = [name.removeprefix(FIRST_OF_A_MODEL) for name in trained]
    models = {key: [name for name in names if name.partition("@")[2] == key] for key in keys}
    return Plan(list(names[: names.index(trained[0])]) if trained else [], models)


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(jobs: int, gpus: Sequence[str], of_cores: int) -> list[dict[str, str]]:
    """The environment variables of each job: its share of the cores, and its GPU if `gpus` names some."""
    share = {"OMP_NUM_THREADS": str(max(1, of_cores // (len(gpus) or jobs)))}
    return [share | {"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [share] * jobs


class Runner:
    """Runs `dvc repro` in a repository, from several threads, until `stop` is called."""

    def __init__(self, root: Path) -> None:
        self.root, self.stopped = root, False
        self.running: set[subprocess.Popen[str]] = set()

    def repro(self, arguments: Sequence[str], settings: dict[str, str], prefix: str = "") -> bool:
        """Run `dvc repro`, print its output with a prefix before each line, and return whether it succeeded."""
        if self.stopped:
            return False
        with subprocess.Popen(
            [*DVC, "repro", *arguments],
            cwd=self.root,
            env={**workspace.environment(), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="backslashreplace",  # names of files can hold any bytes
            start_new_session=True,  # so that `stop` interrupts DVC and the stage's command together, once
        ) as process:
            self.running.add(process)
            if self.stopped:  # `stop` was called while the process started
                self.stop()
            assert process.stdout is not None
            for line in process.stdout:
                if line.strip():
                    print(prefix + line, end="", flush=True)
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


def run(root: Path, environments: list[dict[str, str]]) -> list[str]:
    """Run the whole pipeline of the repository at `root`, with one job for each of `environments`.

    Returns what failed: keys of models, `BEFORE` or `AFTER`. If one model fails, the others continue, but the stages
    that compare them do not run. After an interrupt it waits until the running stages end. It passes on each further
    interrupt.
    """
    runner = Runner(root)
    with ThreadPoolExecutor(1) as pool:  # this thread receives interrupts, so another one starts the processes
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
        cwd=runner.root, env=workspace.environment(), check=False, capture_output=True,
        encoding="utf-8", errors="backslashreplace",
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


def reproduce(root: Path, jobs: int, gpus: Sequence[str] = ()) -> int:
    """Call `run`, print one line if it did not succeed, and return the exit status."""
    try:
        with interruptible():
            failed = run(root, slots(jobs, gpus, cores()))
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    if failed:
        print(
            f"error: failed: {', '.join(failed)}; see above for the reason, correct it and run the same command again",
            file=sys.stderr,
        )
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.side_by_side", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--jobs", type=int, default=2, help="number of models at once; they share the processor's cores (default: 2)"
    )
    chosen.add_argument(
        "--gpus", nargs="+", default=[], metavar="N", help="run one model at a time on each of these GPUs"
    )
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}; at least 1 is needed")
    return reproduce(Path(), arguments.jobs, arguments.gpus)


if __name__ == "__main__":
    program.run(main)
