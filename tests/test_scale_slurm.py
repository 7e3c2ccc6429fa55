"""The same on a real SLURM of one node, on this machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import scale_pipeline as toy
import slurm_node

from tools import workspace

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(slurm_node.missing()), reason=str(slurm_node.missing()))]


def test_jobs_of_slurm_make_the_same_bytes_as_one_repro(tmp_path: Path) -> None:
    alone, repository, log = toy.make(tmp_path / "alone"), toy.make(tmp_path / "jobs"), tmp_path / "log"
    subprocess.run(["dvc", "repro", "-q"], cwd=alone, env=workspace.environment(), check=True)
    site = toy.site(
        tmp_path / "site.yaml", tmp_path / "scratch", provider="slurm", partition="main", walltime_minutes=10,
        address="127.0.0.1", options="['#SBATCH --comment=study']",
    )  # fmt: skip
    with slurm_node.node(tmp_path / "slurm") as variables:
        done = toy.scale(repository, "--site", str(site), **variables, TOY_LOG=str(log))
        left = slurm_node.printed("squeue --format=%t", variables).split()
    assert done.returncode == 0, done.stdout + done.stderr
    assert toy.results(repository) == toy.results(alone)
    assert f"in {tmp_path / 'scratch'}" in log.read_text()
    assert {"ST"} <= set(left) <= {"ST", "CG"}  # a heading; no job is left, or it is completing
