"""Measures this version against an earlier one: both in turns on one machine, and the ratio of each turn.

The earlier version is a git worktree in a temporary folder. Each task is a process of its own, in the folder of the
version that it measures; it prints the seconds that count, or the whole process counts.

- `step-STEM`: 20 steps of training.
- `start`: the six stages with a network, from the start of the process until a network is built.
- `corruptions`: all 95 variants of 500 images, in one process.
- `evaluate`, `stress`, `attack`: the stages, for the model of `--model`, with this folder's data and models. Those of
  this version write their results into this folder, as `dvc repro` does. The results that a stage reads must be there.
- `demo`: each version's own demo, from nothing. Its sizes may differ between the versions.
- `nothing`: `dvc repro` of the finished demo, which has nothing to do. Both use the packages of this environment.

`python -m bench.against [REVISION] [--tasks NAME …] [--turns 3] [--model cross_entropy-clean-0]`
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from bench import report
from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_json
from robustness_study.core.program import run
from tools.scale.plan import cell_of

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "a71d177"  # the last commit before the work on speed
MODEL = "cross_entropy-clean-0"
STEMS = ("imagenet", "half", "cifar")
STEP = """
import sys, time
import numpy as np, torch
from bench.speed import ours
from robustness_study.core import params
from robustness_study.schema.recipe import Recipe
rng, recipe = np.random.default_rng(0), params.read()["recipes"]["cpu"] | {"stem": sys.argv[1], "epochs": 2}
images, labels = rng.integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, 2000).astype(np.uint8)
steps = ours(Recipe.model_validate(recipe), images, labels, torch.device("cpu")).epoch_from(1, 0)
for _ in range(5): next(steps)
started = time.perf_counter()
for _ in range(20): next(steps)
print(time.perf_counter() - started)
"""
CORRUPTIONS = """
import torch
from bench.corruptions import BENCHMARK, SEVERITIES, timed
torch.set_num_threads(1)
print(sum(timed((name, severity), 500) for name in BENCHMARK for severity in SEVERITIES))
"""
START = """
import subprocess, sys, time
build = "from robustness_study.networks import Network; Network('resnet18', 'half', 32).make_backbone()"
started = time.perf_counter()
for stage in ("train", "evaluate", "attack", "stress", "transfer", "check_sizes"):
    subprocess.run([sys.executable, "-c", f"import stages.{stage}; {build}"], check=True)
print(time.perf_counter() - started)
"""


def commands(model: str) -> dict[str, list[str]]:
    """The command of each task, by its name."""
    cell = cell_of(model)
    if cell is None:
        raise StudyError(f"--model {model!r} is not LOSS-TRAINSET-SEED, such as cross_entropy-clean-0")
    chosen = ["--loss", cell.loss, "--train-set", cell.train_set, "--seed", str(cell.seed)]
    python = [sys.executable, "-c"]
    return {
        **{f"step-{stem}": [*python, STEP, stem] for stem in STEMS},
        "start": [*python, START],
        "corruptions": [*python, CORRUPTIONS],
        **{stage: [sys.executable, "-m", f"stages.{stage}", *chosen] for stage in ("evaluate", "stress", "attack")},
        "demo": [sys.executable, "-m", "tools.demo"],
        "nothing": ["dvc", "repro", "--quiet"],
    }


def seconds_of(name: str, command: list[str], tree: Path) -> float:
    """How long the command takes in the folder of a version. Raises StudyError if it fails."""
    folder = tree / ".demo" if name == "nothing" else tree
    if not folder.is_dir():
        raise StudyError("the task `nothing` needs the demo; add the task `demo`")
    if name == "demo":
        for made in (tree / ".demo", tree / ".demo.cache"):
            shutil.rmtree(made, ignore_errors=True)
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        check=False,
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )
    whole = time.perf_counter() - started
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise StudyError(f"{name} failed in {folder}: {last}")
    return float(done.stdout.splitlines()[-1]) if "-c" in command else whole


def share(tree: Path) -> None:
    """Let an earlier version read this folder's data and models. It gets copies of all that its own stages write."""
    shutil.rmtree(tree / "data", ignore_errors=True)  # git has one file of it
    (tree / "data").mkdir()
    for name in ("raw", "split", "corrupted", "training_sets", "suite", "natural"):
        (tree / "data" / name).symlink_to(ROOT / "data" / name)
    for name in ("evaluated", "cells", "attacked", "stressed"):
        if (ROOT / "data" / name).is_dir():
            shutil.copytree(ROOT / "data" / name, tree / "data" / name)
    (tree / "models").mkdir(exist_ok=True)
    for path in (ROOT / "models").iterdir():
        if path.is_dir():
            (tree / "models" / path.name).symlink_to(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", nargs="?", default=BEFORE)
    parser.add_argument("--tasks", nargs="+", choices=commands(MODEL), default=list(commands(MODEL)), metavar="NAME")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", default=MODEL)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    machine = report.machine(torch.device("cpu"))
    with tempfile.TemporaryDirectory() as top:
        before = Path(top) / "before"
        for command in (["worktree", "prune"], ["worktree", "add", "--quiet", "--detach", str(before), given.revision]):
            if subprocess.run(["git", *command], cwd=ROOT, check=False).returncode:
                raise StudyError(f"git cannot check out {given.revision}; name a commit that this repository has")
        try:
            share(before)
            print(f"seconds: {given.revision}, this version; ratio: median (minimum to maximum) of {given.turns} turns")
            for name in given.tasks:
                rows.append(compared(name, commands(given.model)[name], before, given.turns))
                kept = {"machine": machine, "revision": given.revision, "rows": rows}
                write_json(report.RESULTS / "against.json", kept)
                ratio = rows[-1]["ratio"]
                print(
                    f"{name:14s} {rows[-1]['before']['median']:8.2f} {rows[-1]['now']['median']:8.2f}   "
                    f"ratio {ratio['median']:5.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})",
                    flush=True,
                )
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=ROOT, check=False)


def compared(name: str, command: list[str], before: Path, turns: int) -> dict[str, Any]:
    """The seconds of both versions and their ratio, over several turns."""
    seconds: dict[str, list[float]] = {"before": [], "now": []}
    for _ in range(turns):
        for which, tree in (("before", before), ("now", ROOT)):
            seconds[which].append(seconds_of(name, command, tree))
    ratios = [old / new for old, new in zip(seconds["before"], seconds["now"], strict=True)]
    summaries = {key: report.summary(found) for key, found in (seconds | {"ratio": ratios}).items()}
    return {"task": name, **summaries}


if __name__ == "__main__":
    run(main)
