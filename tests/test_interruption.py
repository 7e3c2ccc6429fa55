"""`kill -9` of a training stage at random moments (from a seed), and the run that resumes it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustness_study.core import params
from robustness_study.core.files import write_record

REPOSITORY = Path(__file__).resolve().parents[1]
CELL = ["--loss", "angular", "--train-set", "clean", "--seed", "3"]
KEY = "angular-clean-3"
RESULTS = (f"models/{KEY}/weights.safetensors", f"models/{KEY}/model.json", f"data/cells/{KEY}/curves.csv")
STEPS = 48  # of the run: 6 epochs of 64 images in batches of 8
# The stage itself, with a checkpoint at every step instead of every half minute, and a file that counts them.
STAGE = """
import pathlib, runpy, sys
from robustness_study.training import engine
from robustness_study.training.checkpoints import Checkpoints
engine.CHECKPOINT_INTERVAL_S = -1.0
save = Checkpoints.save

def counted(self, tensors, notes):
    save(self, tensors, notes)
    pathlib.Path("done.part").write_text(str(notes["done"]))
    pathlib.Path("done.part").rename("done")

Checkpoints.save = counted
sys.argv[0] = "-m"  # as Python sets it while it looks for the module
runpy.run_module("stages.train", run_name="__main__")
"""
# Stands in for torch, which takes seconds to import: importing this takes a minute.
SLOW_TORCH = """
import os, pathlib, time
pathlib.Path("importing.part").write_text(str(os.getpid()))
pathlib.Path("importing.part").rename("importing")
time.sleep(60)
"""
# As DVC does: it runs the stage from a shell, and DVC can be killed while the stage lives.
PARENT = "import subprocess, sys; subprocess.run(sys.argv[1], shell=True)"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return study_in(tmp_path)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The results of an uninterrupted run."""
    folder = study_in(tmp_path_factory.mktemp("uninterrupted"))
    _, results = run_to_the_end(folder)
    assert not (folder / ".checkpoints" / KEY).exists()
    return results


def study_in(tmp_path: Path) -> Path:
    """Writes the stage's inputs into a folder; returns the folder."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)
    for folder in ("raw", "split", "training_sets"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    np.savez(tmp_path / "data/training_sets/clean.npz", images=images)
    np.savez(tmp_path / "data/raw/train.npz", images=images, labels=(np.arange(80) % 4).astype(np.uint8))
    np.savez(tmp_path / "data/split/3.npz", train=np.arange(64), val=np.arange(64, 80))
    write_record(tmp_path / "data/raw/source.json", {"classes": ["a", "b", "c", "d"]})
    values = params.read(REPOSITORY / "params.yaml")
    recipe = values["recipes"][values["recipe"]]
    values["recipes"] = {"tiny": recipe | {"stem": "half", "epochs": 6, "batch_size": 8, "watched_images": 16}}
    (tmp_path / "params.yaml").write_text(json.dumps(values | {"recipe": "tiny"}))
    return tmp_path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "STUDY_DEVICE": "cpu"}


def run_to_the_end(study: Path) -> tuple[str, dict[str, bytes]]:
    """Runs the unchanged stage; returns its printed text and its results."""
    done = subprocess.run(
        [sys.executable, "-m", "stages.train", *CELL],
        cwd=study,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, {name: (study / name).read_bytes() for name in RESULTS}


def interrupt(study: Path, step: int, after_s: float, parent_alone: bool) -> None:
    """Starts the stage under a parent, waits for the checkpoint of `step` and then `after_s` seconds, and kills it."""
    (study / "stage.py").write_text(STAGE)
    command = f"{sys.executable} stage.py {' '.join(CELL)}"
    parent: subprocess.Popen[Any] = subprocess.Popen(
        [sys.executable, "-c", PARENT, command], cwd=study, env=environment(), start_new_session=True
    )
    waited = time.monotonic() + 300
    while not (study / "done").exists() or int((study / "done").read_text()) < step:
        assert time.monotonic() < waited and parent.poll() is None
        time.sleep(0.005)
    time.sleep(after_s)
    if parent_alone:
        parent.kill()
    else:
        os.killpg(parent.pid, signal.SIGKILL)
    parent.wait()


def within(seconds: float, true: Callable[[], bool]) -> bool:
    """Whether `true()` becomes true within this time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def is_gone(pid: int) -> bool:
    return within(10, lambda: not Path(f"/proc/{pid}").exists())


def check_resuming(study: Path, expected: dict[str, bytes], step: int, after_s: float, parent_alone: bool) -> None:
    interrupt(study, step, after_s, parent_alone)
    # Restarted at once, as a user would: processes that the killed run left must end first.
    printed, found = run_to_the_end(study)
    assert found == expected
    gone_on = re.search(rf"resuming after step (\d+) of {STEPS}", printed)
    # After the last step the run may have ended before it was killed.
    assert step == STEPS if gone_on is None else int(gone_on[1]) >= step
    assert not (study / ".checkpoints" / KEY).exists()


@pytest.mark.slow
def test_killed_training_resumes_to_the_same_bytes(study: Path, expected: dict[str, bytes]) -> None:
    check_resuming(study, expected, step=1, after_s=0.5, parent_alone=True)


@pytest.mark.slow
@pytest.mark.parametrize("parent_alone", [False, True], ids=["process group", "parent alone"])
@pytest.mark.parametrize("part", range(5))
def test_training_killed_at_any_moment_resumes_to_the_same_bytes(
    study: Path, expected: dict[str, bytes], part: int, parent_alone: bool
) -> None:
    """Killed in each quarter of the run, during a step, a checkpoint or an epoch's metrics, and after the last step."""
    rng = np.random.default_rng([part, parent_alone])
    step = STEPS if part == 4 else int(rng.integers(part * STEPS // 4, (part + 1) * STEPS // 4)) + 1
    check_resuming(study, expected, step, float(rng.uniform(0, 0.3)), parent_alone)


def test_trainer_dies_with_its_parent(study: Path) -> None:
    interrupt(study, 1, 0, parent_alone=True)
    lock = study / f".locks/train-{KEY}.lock"
    assert is_gone(int(lock.read_text().split()[1]))
    assert not any((study / name).exists() for name in RESULTS)


def test_trainer_that_is_still_starting_dies_with_its_parent(study: Path) -> None:
    (study / "torch.py").write_text(SLOW_TORCH)
    command = f"{sys.executable} -m stages.train {' '.join(CELL)}"
    parent = subprocess.Popen([sys.executable, "-c", PARENT, command], cwd=study, env=environment())
    try:
        assert within(30, (study / "importing").exists)
    finally:
        parent.kill()
        parent.wait()
    assert is_gone(int((study / "importing").read_text()))
