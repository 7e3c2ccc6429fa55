"""Which stages run before the models, which belong to each model, and what each job on this machine gets."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from tools import workspace

FIRST_OF_A_MODEL = "train@"
# These write files into git's folders, so DVC does not cache them. They take seconds, on the head.
ON_THE_HEAD = ("render@", "publish@")


@dataclass(frozen=True)
class Plan:
    """Names of stages: those before all models, and those of each model, by its key LOSS-TRAINSET-SEED."""

    before: list[str]
    models: dict[str, list[str]]

    def on_workers(self, key: str) -> list[str]:
        """The stages of a model whose outputs DVC caches: only these can run in another clone."""
        return [name for name in self.models[key] if not name.startswith(ON_THE_HEAD)]


def plan(names: Sequence[str]) -> Plan:
    """Divide the stages' names, given in dvc.yaml's order. The last `dvc repro` runs those in neither part.

    All models of one seed come before those of the next, so that a stop leaves whole seeds.
    """
    trained = [name for name in names if name.startswith(FIRST_OF_A_MODEL)]
    keys = [name.removeprefix(FIRST_OF_A_MODEL) for name in trained]
    seeds = list(dict.fromkeys(seed_of(key) for key in keys))
    keys.sort(key=lambda key: seeds.index(seed_of(key)))
    models: dict[str, list[str]] = {key: [] for key in keys}
    for name in names:
        models.get(name.partition("@")[2], []).append(name)
    return Plan(list(names[: names.index(trained[0])]) if trained else [], models)


def ask_dvc(root: Path, *arguments: str) -> str:
    """What `dvc` prints about the repository at `root`. Raises StudyError with DVC's own words if it fails."""
    done = subprocess.run(
        ["dvc", *arguments],
        cwd=root, env=workspace.environment(), check=False, capture_output=True,
        encoding="utf-8", errors="backslashreplace",  # names of files can hold any bytes
    )  # fmt: skip
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise StudyError(f"`dvc {arguments[0]}` failed: {said}; correct this and run the same command again")
    return done.stdout


def of_repository(root: Path) -> Plan:
    """The plan of the pipeline at `root`. Raises StudyError if DVC cannot read dvc.yaml."""
    return plan(ask_dvc(root, "stage", "list", "--name-only").split())


def cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def slots(jobs: int, gpus: Sequence[str], of_cores: int) -> list[dict[str, str]]:
    """The environment variables of each job: its share of the cores, and its GPU if `gpus` names some."""
    share = {"OMP_NUM_THREADS": str(max(1, of_cores // (len(gpus) or jobs)))}
    return [share | {"CUDA_VISIBLE_DEVICES": gpu} for gpu in gpus] or [share] * jobs


def place(slot: dict[str, str]) -> str:
    """The name of a job's place on this machine."""
    return f"GPU {slot['CUDA_VISIBLE_DEVICES']}" if "CUDA_VISIBLE_DEVICES" in slot else "this machine"


def seed_of(key: str) -> str:
    """The seed in a model's key LOSS-TRAINSET-SEED. Names hold no `-`, so the seed is what follows the last one."""
    return key.rpartition("-")[2]


def cell_of(key: str) -> Cell | None:
    """The cell of a model's key LOSS-TRAINSET-SEED; None if it is not of this form."""
    parts = key.split("-")
    return Cell(parts[0], parts[1], int(parts[2])) if len(parts) == 3 and parts[2].isdecimal() else None


def listed(keys: Iterable[str], most: int = 8) -> str:
    """Keys for a message: the first `most` of them, and how many more there are."""
    every = list(keys)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
