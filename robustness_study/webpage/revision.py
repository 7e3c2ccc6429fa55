"""The git revision of the code that runs."""

from __future__ import annotations

import subprocess

CODE = ("robustness_study", "stages", "dvc.yaml")


def commit() -> str | None:
    """The last commit that changed the code, as git's short hash; None without git or outside a repository.

    Commits of results do not count, so a page that is made again has the same bytes. "with changes" follows if a
    tracked file of the code differs from that commit.
    """
    found = _git("log", "-1", "--format=%h", "--abbrev=12", "--", *CODE)
    if not found:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    return f"{found} with changes" if changed else found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", errors="replace", check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
