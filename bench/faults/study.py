"""A tiny study that is made in a minute, and stages that run in forked processes: for the injection of faults."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustness_study.attacks.catalogue import ALARMS
from robustness_study.core.imports import ROOT
from robustness_study.core.program import run
from tools import workspace

LOSSES, TRAIN_SET, SEED = ("cross_entropy", "angular"), "clean", 0
SETTINGS: dict[str, Any] = {
    "losses": [*LOSSES],
    "train_sets": [TRAIN_SET],
    "seeds": [SEED],
    "download.dataset": "digits",
    "download.size": 8,
    "split.train_share": 0.1,
    "suite.corruptions": ["gaussian_noise", "fog"],
    "suite.images": 30,
    "recipes.cpu.network": "timm/test_resnet",
    "recipes.cpu.epochs": 2,
    "recipes.cpu.batch_size": 20,
    "recipes.cpu.peak_learning_rate": 0.03,
    "recipes.cpu.crop_padding": 1,
    "recipes.cpu.watched_images": 30,
    "attack.images": 40,
    "attack.control_images": 20,
    "attack.attacks.pgd.images": 8,
    "attack.attacks.pgd.steps": 4,
    "attack.attacks.pgd.restarts": 1,
    "attack.attacks.square.images": 6,
    "attack.attacks.square.queries": 10,
    "attack.accept": sorted(ALARMS),
    "transfer.accept": ["transfer_stronger"],
    "transfer.images": 30,
    "embed.images": 40,
    "stability.seeds": [0, 1],
}
OF_A_MODEL = ("train", "evaluate", "attack", "stress", "embed", "render", "publish")


def arguments(stage: str, loss: str = LOSSES[0]) -> tuple[str, ...]:
    """A stage with the arguments that dvc.yaml gives it."""
    if stage in (*OF_A_MODEL, "stability"):
        return stage, "--loss", loss, "--train-set", TRAIN_SET, "--seed", str(SEED)
    of_others = {
        "split": ("--seed", str(SEED)),
        "corrupt": ("--split", "train"),
        "training_set": ("--train-set", TRAIN_SET),
        "transfer": ("--seed", str(SEED)),
        "headline": ("--loss", loss),
    }
    return stage, *of_others.get(stage, ())


def every_stage() -> list[tuple[str, ...]]:
    """All stages of the study, in the order in which they run."""
    first = ["check", "download", "check_sizes", "split", "corrupt"]
    found = [arguments(stage) for stage in first] + [("corrupt", "--split", "test")]
    found += [arguments(stage) for stage in ("natural", "training_set", "suite")]
    found += [arguments(stage, loss) for loss in LOSSES for stage in OF_A_MODEL]
    return found + [arguments(stage) for stage in ("transfer", "stability", "publish_shared", "compare", "headline")]


@dataclass(frozen=True)
class Done:
    """How a stage ended: its exit status (None: it was still running and was killed), and what it wrote to stderr."""

    status: int | None
    said: str


def start(top: Path, command: tuple[str, ...], prepare: Callable[[], object] = lambda: None) -> int:
    """Begin a stage in a forked process in the folder `top`, after `prepare` ran there. Returns the process number."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.chdir(top)
        for number, path in ((1, Path(os.devnull)), (2, top.parent / f"{top.name}.stderr")):
            os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.argv = [*command]
        prepare()
        try:
            run(importlib.import_module(f"stages.{command[0]}").main)
            status = 0
        except SystemExit as ended:
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def end(top: Path, child: int, seconds: float) -> Done:
    """Wait for a stage that `start` began; kill it after so many seconds."""
    until, status = time.monotonic() + seconds, None
    while status is None and time.monotonic() < until:
        found, ended = os.waitpid(child, os.WNOHANG)
        if found:
            status = os.waitstatus_to_exitcode(ended)
        else:
            time.sleep(0.01)
    if status is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    said = (top.parent / f"{top.name}.stderr").read_text(encoding="utf-8", errors="replace")
    return Done(status, said)


def run_stage(
    top: Path, command: tuple[str, ...], seconds: float = 60, prepare: Callable[[], object] = lambda: None
) -> Done:
    """Run a stage to its end."""
    return end(top, start(top, command, prepare), seconds)


def make(top: Path) -> None:
    """Make the study in the folder `top`, with every file that its stages write."""
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", top)
    workspace.change_params(top / "params.yaml", SETTINGS)
    for path in sorted((ROOT / "stages").glob("[a-z]*.py")):
        importlib.import_module(f"stages.{path.stem}")
    for command in every_stage():
        done = run_stage(top, command, 300)
        if done.status != 0:
            raise SystemExit(f"the study without a fault ends at {' '.join(command)}: {done.said}")


def contents(top: Path) -> dict[str, bytes]:
    """What the stages wrote: path → bytes."""
    found = (path for part in ("data", "models", "reports") for path in (top / part).rglob("*"))
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in found if path.is_file()}
