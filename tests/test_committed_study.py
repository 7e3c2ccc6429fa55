"""The committed study: its files in git agree with the code."""

from __future__ import annotations

import re
import subprocess

import pytest

from tools import workspace


@pytest.mark.slow
@pytest.mark.skipif(not workspace.is_repository(), reason="this folder is no git repository")
def test_a_fresh_clone_is_up_to_date_without_the_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    clone = tmp_path_factory.mktemp("fresh") / "clone"
    environment = workspace.environment()
    subprocess.run(["git", "clone", "-q", str(workspace.ROOT), str(clone)], env=environment, check=True)
    command = ["dvc", "repro", "--allow-missing", "--dry"]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=True)
    assert not re.findall(r"Running stage '([^']+)'", done.stdout)
