"""Makes a temporary repository with a copy of the current working tree, in which some params are changed."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from robustness_study.core.errors import StudyError
from robustness_study.core.files import write_text

ROOT = Path(__file__).parent.parent
PLOTS_SCRIPT = ROOT / ".dvc/vega/vega.js"  # not in git; `make setup` makes it
# Results of the committed study. They are not copied: the workspace computes its own.
RESULTS = ("dvc.lock", "reports/", "data/raw/source.json")
# The commit of the same files has the same hash, so the report that names it has the same bytes.
NO_CLOCK = {f"GIT_{who}_DATE": "2000-01-01T00:00:00+00:00" for who in ("AUTHOR", "COMMITTER")}
LIVE = "reports/live/"  # copied although it is under reports/: it holds only a file that keeps the folder in git


def create(target: Path, overrides: dict[str, Any]) -> None:
    """Copy every file that git tracks or would track to `target`, change the params there, and commit.

    `overrides` are values by dotted keys. The DVC cache of an earlier workspace at `target` is kept, so that running
    again repeats only what changed. Raises StudyError if git is missing or fails.
    """
    names = [name for name in files() if name.startswith(LIVE) or not name.startswith(RESULTS)]
    cache, kept = target / ".dvc/cache", target.with_name(target.name + ".cache")
    if cache.is_dir():
        shutil.rmtree(kept, ignore_errors=True)
        cache.rename(kept)
    shutil.rmtree(target, ignore_errors=True)
    for name in names:
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, copy)
    if kept.is_dir():
        kept.rename(cache)
    if PLOTS_SCRIPT.exists():
        shutil.copytree(PLOTS_SCRIPT.parent, target / PLOTS_SCRIPT.parent.relative_to(ROOT))
    change_params(target / "params.yaml", overrides)
    for arguments in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Workspace"]):
        git(*arguments, folder=target)


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
    text = io.StringIO()
    yaml.dump(values, text)
    write_text(path, text.getvalue())


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
    # DVC asks for the user's name, which a container that runs under any number does not have.
    return {"LOGNAME": "demo", **inherited, **identity, **config, **own}


def git(*arguments: str, folder: Path, index: Path | None = None) -> str:
    """What `git` prints when it runs in a folder; with `index`, this file is its index instead of the repository's.

    Raises StudyError with git's own words if it is missing or fails.
    """
    variables = environment() | NO_CLOCK | ({"GIT_INDEX_FILE": str(index)} if index else {})
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, env=variables, check=False, capture_output=True)
    except FileNotFoundError:
        raise StudyError("git is not installed, and DVC needs it; install git and run the command again") from None
    if done.returncode:
        said = " ".join(os.fsdecode(done.stderr or done.stdout).split()) or f"exit status {done.returncode}"
        raise StudyError(f"`git {arguments[0]}` failed in {folder.resolve()}: {said}; correct this and run again")
    return os.fsdecode(done.stdout)


def files() -> list[str]:
    """The files that git tracks or would track, by paths from the project's top. Raises StudyError if git fails."""
    listing = ["ls-files", "-z", "--others", "--exclude-standard"]
    if is_repository():
        listed = git(*listing, "--cached", folder=ROOT)
    else:  # without files that git tracks, .gitignore decides
        with tempfile.TemporaryDirectory() as empty:
            git("init", "-q", empty, folder=ROOT)
            listed = git("--git-dir", f"{empty}/.git", "--work-tree", str(ROOT), *listing, folder=ROOT)
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def is_repository() -> bool:
    """Whether `ROOT` is the top of a repository that git may read.

    It is not if it was unpacked from a ZIP file, even within another repository, or if it belongs to another user.
    """
    try:
        return git("rev-parse", "--show-prefix", folder=ROOT).strip() == ""
    except StudyError:
        return False
