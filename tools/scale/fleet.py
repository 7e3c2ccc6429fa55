"""Refuses models of one seed that are trained with different devices or precisions: they could not be compared.

DVC does not see the device, so it would not notice.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_json
from tools import workspace
from tools.scale.plan import Plan, cell_of, seed_of

COMPARED = ("device", "torch", "precision")  # of what a model's notes say about where it was trained
Environment = dict[str, str]


def of_process(folder: Path, settings: dict[str, str]) -> Environment:
    """What a model would be trained with in `folder`, with these environment variables."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.scale.probe"],
        cwd=folder, env=environment_variables() | settings, check=False, capture_output=True,
        encoding="utf-8", errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise StudyError(f"the device cannot be found out: {(done.stderr.strip().splitlines() or ['no reason'])[-1]}")
    found: Environment = json.loads(done.stdout.splitlines()[-1])
    return found


def environment_variables() -> dict[str, str]:
    """The workspace's environment variables, in which `tools` can be imported in every folder."""
    found = workspace.environment()
    return found | {"PYTHONPATH": ":".join(filter(None, [found.get("PYTHONPATH"), str(workspace.ROOT)]))}


def recorded(root: Path, key: str) -> Environment | None:
    """What a model whose results are in reports/ was trained with; None if there are none."""
    cell = cell_of(key)
    path = None if cell is None else root / cell.published("evaluate.json")
    if path is None or not path.exists():
        return None
    trained_on = read_json(path, "trained_on")["trained_on"]
    return {name: trained_on[name] for name in COMPARED if name in trained_on}


def text(environment: Environment) -> str:
    """An environment as text."""
    return ", ".join(f"{name} {environment[name]}" for name in COMPARED if name in environment)


def refuse_mixture(root: Path, finished: Iterable[str], missing: Iterable[str], here: Environment) -> None:
    """Raises StudyError if a finished model was trained with something else, and one of its seed is missing."""
    seeds = {seed_of(key) for key in missing}
    for key in finished:
        there = recorded(root, key) if seed_of(key) in seeds else None
        if there and there != {name: here[name] for name in there if name in here}:
            raise StudyError(
                f"{key} was trained with {text(there)}, and the missing models of seed {seed_of(key)} would be "
                f"trained with {text(here)}; use the same device for all, or `dvc repro -f train@{key}`"
            )


def refuse_mixture_here(root: Path, planned: Plan, settings: dict[str, str]) -> None:
    """The same for this machine. It asks for the device, which takes seconds, only if a seed is half finished."""
    finished = [key for key in planned.models if recorded(root, key)]
    missing = [key for key in planned.models if key not in finished]
    if {seed_of(key) for key in finished} & {seed_of(key) for key in missing}:
        refuse_mixture(root, finished, missing, of_process(root, settings))
