"""`python -m tools.side_by_side`: what `dvc repro` does, with several models at work at once.

DVC runs a stage at a time, but several of its processes can share a repository, each at a stage of its own. Stages
that serve every model come first; then each model's own, from training to its UMAP, one model a job; then what compares
them.
"""

from __future__ import annotations

import argparse
import os
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools import workspace

DVC = ("dvc", "--wait-for-lock")
FIRST_OF_A_MODEL = "train@"


@dataclass(frozen=True)
class Plan:
    """Names of stages: those before any model, and each model's own, by LOSS-TRAINSET-SEED."""

    before: list[str]
    models: dict[str, list[str]]


def plan(names: Sequence[str]) -> Plan:
    """Sort the stages' names, which are in dvc.yaml's order; what is in neither part is left to `dvc repro`."""
    trained = [name for name in names if name.startswith(FIRST_OF_A_MODEL)]
    if not trained:
        raise ValueError(f"no stage is named {FIRST_OF_A_MODEL}…")
    keys = [name.removeprefix(FIRST_OF_A_MODEL) for name in trained]
    models = {key: [name for name in names if name.partition("@")[2] == key] for key in keys}
    return Plan(list(names[: names.index(trained[0])]), models)


def slots(jobs: int, gpus: Sequence[str], cores: int) -> list[dict[str, str]]:
    """What to set in the environment of each job: its share of the cores, or its GPU where some are named."""
    if gpus:
        return [{"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus]
    return [{"OMP_NUM_THREADS": str(max(1, cores // jobs))} for _ in range(jobs)]


def repro(root: Path, arguments: Sequence[str], settings: dict[str, str], prefix: str = "") -> bool:
    """Run `dvc repro`, printing what it says line by line behind a prefix. Whether it succeeded."""
    process = subprocess.Popen(
        [*DVC, "repro", *arguments],
        cwd=root,
        env={**workspace.environment(), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip():
            print(prefix + line, end="", flush=True)
    return process.wait() == 0


def run(root: Path, environments: list[dict[str, str]]) -> list[str]:
    """Reproduce the whole pipeline of the repository at `root`, with as many jobs as there are `environments`.

    Returns the models that failed, or "before" or "after" for stages that are no model's. A model that fails does not
    stop the others; what compares them is then left.
    """
    listed = subprocess.run(
        ["dvc", "stage", "list", "--name-only"],
        cwd=root, env=workspace.environment(), check=False, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        print(listed.stderr.strip(), file=sys.stderr)
        return ["before"]
    planned = plan(listed.stdout.split())
    if not repro(root, planned.before, {}):
        return ["before"]
    free: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for settings in environments:
        free.put(settings)

    def one(key: str) -> bool:
        settings = free.get()
        try:
            return repro(root, ["--single-item", *planned.models[key]], settings, f"{key}: ")
        finally:
            free.put(settings)

    with ThreadPoolExecutor(len(environments)) as pool:
        try:
            succeeded = dict(zip(planned.models, pool.map(one, planned.models), strict=True))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)  # those at work were interrupted too
            raise
    failed = [key for key, good in succeeded.items() if not good]
    if failed:
        return failed
    return [] if repro(root, [], {}) else ["after"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.side_by_side", description=__doc__)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--jobs", type=int, default=2, help="models at once, which share the processor's cores (2)")
    chosen.add_argument("--gpus", nargs="+", default=[], metavar="N", help="a model at a time on each of these GPUs")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error(f"--jobs is {arguments.jobs}; at least 1 is needed")
    try:
        failed = run(Path(), slots(arguments.jobs, arguments.gpus, os.cpu_count() or 1))
    except KeyboardInterrupt:
        print("\nInterrupted. Type the same again to go on.", file=sys.stderr)
        return 130
    if failed:
        print(f"error: failed: {', '.join(failed)}; why stands above; mend it and type the same again", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
