"""A throw-away repository that holds the working tree as it stands, with some params changed."""

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
# Results of the committed study: the workspace makes its own.
RESULTS = ("dvc.lock", "reports/", "data/raw/source.json")
LIVE = "reports/live/"  # no result: the file in it keeps the folder there


def create(target: Path, overrides: dict[str, Any]) -> None:
    """Copy every file git tracks or would track to `target`, change params, commit it there.

    What an earlier workspace at `target` computed stays in its DVC cache, so that running again
    repeats only what changed.
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
    """Set dotted keys of a params file, keeping its comments."""
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
    """This process's environment, with this Python first on the path and git kept to the workspace."""
    # A git hook's GIT_DIR would send the commits to the repository that the hook runs in.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    identity = {f"GIT_{who}_{what}": "demo" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    settings = {"commit.gpgsign": "false", "core.hooksPath": os.devnull}
    config = {"GIT_CONFIG_COUNT": str(len(settings))}
    for position, (key, value) in enumerate(settings.items()):
        config |= {f"GIT_CONFIG_KEY_{position}": key, f"GIT_CONFIG_VALUE_{position}": value}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**inherited, **identity, **config, "PATH": path, "PYTHONUNBUFFERED": "1", "DVC_NO_ANALYTICS": "1"}


def _files() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, env=environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    return [name for name in names if name.startswith(LIVE) or not name.startswith(RESULTS)]
