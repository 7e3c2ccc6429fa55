"""Repositories where tests run the pipeline with real DVC: params of a tiny study, and commands in a checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from preloaded import command_folder

from robustness_study.attacks.catalogue import ALARMS
from tools import workspace

SMALL: dict[str, Any] = {
    # Fixed here, so that the tests pass for any study that params.yaml describes.
    "loss": "cross_entropy",
    "losses": ["cross_entropy", "angular"],
    "train_sets": ["clean", "corrupted"],
    "seeds": [0],
    "recipe": "cpu",
    "download.dataset": "digits",
    "download.size": 16,
    "split.train_share": 0.3,
    "suite.corruptions": ["gaussian_noise", "fog"],
    "suite.images": 50,
    "recipes.cpu.network": "timm/test_resnet",  # small; the demo trains a ResNet-18
    "recipes.cpu.epochs": 3,
    "recipes.cpu.batch_size": 25,
    "recipes.cpu.peak_learning_rate": 0.03,
    "recipes.cpu.flip": "off",
    "recipes.cpu.watched_images": 100,
    "attack.images": 50,
    "attack.control_images": 25,
    "attack.attacks.pgd.images": 10,
    "attack.attacks.pgd.steps": 5,
    "attack.attacks.pgd.restarts": 1,
    "attack.attacks.pgd.large_epsilon_255": 1,  # some images survive it, which always raises one alarm
    "attack.attacks.square.images": 8,
    "attack.attacks.square.queries": 20,
    # After three epochs, on 50 images, the processor's rounding decides which of these alarms are raised.
    "attack.accept": sorted({*ALARMS} - {"zero_gradients", "not_clean_at_zero"}),
    "transfer.accept": ["transfer_stronger"],
    "transfer.images": 50,
    "embed.images": 60,
    "stability.seeds": [0, 1],
}


class Repository:
    """A checkout with DVC; each call returns what the command printed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ran = False  # a stage, since the last reset

    def run(self, *command: str, fails: bool | None = False) -> str:
        environment = workspace.environment()
        environment["PATH"] = os.pathsep.join([str(command_folder()), environment["PATH"]])
        done = subprocess.run(command, cwd=self.path, env=environment, text=True, capture_output=True, check=False)
        printed = done.stdout + done.stderr
        self.ran |= "--dry" not in " ".join(command) and bool(
            {"repro", "exp", "checkout"} & set(" ".join(command).split())
        )
        assert fails is None or (done.returncode != 0) == fails, printed
        return printed

    def typed(self, line: str, fails: bool | None = False) -> str:
        """A line of the documentation, run by bash; with `fails=None` it may fail or succeed.

        tests/test_documentation.py holds every line that the documentation shows to be the text of such a call.
        """
        return self.run("bash", "-c", line, fails=fails)

    def dvc(self, *arguments: str, fails: bool | None = False) -> str:
        return self.run("dvc", *arguments, fails=fails)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", message)

    def reset(self) -> None:
        # A failed `dvc exp run -S` leaves a params.yaml with a time that git's index takes for unchanged.
        (self.path / "params.yaml").touch()
        self.run("git", "checkout", "-q", "main")
        self.run("git", "reset", "-q", "--hard")
        self.run("git", "clean", "-q", "-f", "-d")
        if self.ran:
            self.dvc("checkout")
            self.ran = False

    def json(self, name: str) -> Any:
        return json.loads((self.path / name).read_text(encoding="utf-8"))


def ran(printed: str) -> set[str]:
    """The stages that DVC ran, or would run."""
    return set(re.findall(r"Running stage '([^']+)'", printed))
