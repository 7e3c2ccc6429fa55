"""Makes a temporary repository with a copy of the current working tree, in which some params are changed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
PLOTS_SCRIPT = ROOT / ".dvc/vega/vega.js"  # not in git; `make setup` makes it
# Results of the committed study. They are not copied: the workspace computes its own.
RESULTS = ("dvc.lock", "reports/", "data/raw/source.json")
LIVE = "reports/live/"  # copied although it is under reports/: it holds only a file that keeps the folder in git


def create(target: Path, overrides: dict[str, Any]) -> None:
    """Copy every file that git tracks or would track to `target`, change the params there, and commit.

    `overrides` are values by dotted keys. The DVC cache of an earlier workspace at `target` is kept, so that running
    again repeats only what changed.
    """
    cache, kept = target / ".dvc/cache", target.with_name(target.name + ".cache")
    if cache.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        cache.rename(kept)
    shutil.rmtree(target, ignore_errors=True)
    for name in _files():
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy)
    if kept.is_dir():
        kept.rename(cache)
    if PLOTS_SCRIPT.exists():
        shutil.copytree(PLOTS_SCRIPT.parent, target / PLOTS_SCRIPT.parent.relative_to(ROOT))
    change_params(target / "params.yaml", overrides)
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Workspace"]):
        subprocess.run(["git", *arguments], cwd=target, env=environment(), check=True)


def change_params(path: Path, overrides: dict[str, Any]) -> None:
    """Set the values of dotted keys in a params file; its comments stay."""
    yaml = YAML()
    values = yaml.load(path)
    for key, value in overrides.items():
        *sections, last = key.split(".")
        place = values
        for name in sections:
            place = place[name]
        place[last] = value
    yaml.dump(values, path)


def environment() -> dict[str, str]:
    """This process's environment variables, with this Python first on the path and git limited to the workspace."""
    # If a git hook runs this, its GIT_DIR would send the commits to the hook's repository.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = {f"GIT_{who}_{what}": "demo" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    settings = {"commit.gpgsign": "false", "core.hooksPath": os.devnull}
    config = {"GIT_CONFIG_COUNT": str(len(settings))}
    for position, (key, value) in enumerate(settings.items()):
        config |= {f"GIT_CONFIG_KEY_{position}": key, f"GIT_CONFIG_VALUE_{position}": value}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    own = {"PATH": path, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "DVC_NO_ANALYTICS": "1"}
    return {**inherited, **identity, **config, **own}


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, env=environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in names if name.startswith(LIVE) or not name.startswith(RESULTS)]
