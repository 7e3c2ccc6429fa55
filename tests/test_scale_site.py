"""Models on workers of Parsl, each in a clone: the same bytes as one `dvc repro`, whatever dies on the way."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import scale_pipeline as toy

from tools import workspace
from tools.scale import board

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one `dvc repro` makes."""
    repository = toy.make(tmp_path_factory.mktemp("alone") / "repository")
    subprocess.run(["dvc", "repro", "-q"], cwd=repository, env=workspace.environment(), check=True)
    return toy.results(repository)


def began(log: Path, what: str) -> list[str]:
    """The models that a stage began with, in order."""
    return re.findall(rf"^{what} (\S+) begins", log.read_text(), re.MULTILINE) if log.exists() else []


def wait_for(condition: object, patience_s: float = 120) -> None:
    until = time.monotonic() + patience_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < until
        time.sleep(0.1)


def descendants_in(folder: Path) -> list[psutil.Process]:
    """Processes that work in a folder or below it."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def is_stage(process: psutil.Process) -> bool:
    """Whether it is the process of a stage."""
    return "stage.py" in " ".join(process.cmdline())


def is_worker(process: psutil.Process) -> bool:
    """Whether it is the process of Parsl that calls `work`."""
    return "spawn_main" in (line := " ".join(process.cmdline())) or "process_worker_pool" in line


def test_two_workers_with_a_shared_cache_or_a_remote(tmp_path: Path, expected: dict[str, bytes]) -> None:
    for name in ("shared", "remote"):
        repository, scratch = toy.make(tmp_path / name), tmp_path / f"{name} scratch"
        settings: dict[str, object] = {"gpus": "['4', '6']", "device": "cpu"}
        if name == "remote":
            subprocess.run(["dvc", "remote", "add", "-q", "-d", "shelf", "../shelf"], cwd=repository, check=True)
            settings |= {"remote": "shelf", "shares_files": "false", "prepare": f"export PYTHONPATH={workspace.ROOT}"}
        site, log = toy.site(tmp_path / f"{name}.yaml", scratch, **settings), tmp_path / f"{name}.log"
        assert "a-clean-0: train, evaluate" in toy.scale(repository, "--site", str(site), "--dry").stdout
        done = toy.scale(repository, "--site", str(site), TOY_LOG=str(log))
        assert done.returncode == 0, done.stdout + done.stderr
        assert toy.results(repository) == expected
        assert sorted(began(log, "train")) == toy.KEYS
        seen = set(re.findall(r"^train \S+ begins on GPU (\S+) in", log.read_text(), re.MULTILINE))
        assert seen == {"4", "6"}  # each worker has one GPU, as the job itself sees it
        assert f"in {scratch}" in log.read_text() and not [each for each in scratch.glob("*/*") if each.is_dir()]
        assert "4 done" in toy.scale(repository, "--status").stdout
        assert "running on" in done.stdout or name == "remote"


def test_a_failed_model_stops_no_other_and_the_same_command_resumes(tmp_path: Path, expected: dict[str, bytes]) -> None:
    repository, log, broken = toy.make(tmp_path / "r"), tmp_path / "log", tmp_path / "broken"
    broken.mkdir()
    (broken / "a-clean-1").touch()
    site = toy.site(tmp_path / "site.yaml", tmp_path / "scratch")
    done = toy.scale(repository, "--site", str(site), TOY_LOG=str(log), TOY_BROKEN=str(broken))
    assert done.returncode == 1 and "error: failed: a-clean-1;" in done.stderr
    assert "a-clean-1 is broken; mend it" in done.stdout
    assert began(log, "train").count("a-clean-1") == 2  # one more time, and no more
    assert "1 failed, 3 done" in toy.scale(repository, "--status").stdout.replace(
        "3 done, 1 failed", "1 failed, 3 done"
    )
    log.unlink()
    done = toy.scale(repository, "--site", str(site), TOY_LOG=str(log))
    assert done.returncode == 0, done.stdout + done.stderr
    assert began(log, "train") == ["a-clean-1"]
    assert toy.results(repository) == expected


def test_workers_killed_at_ten_moments(tmp_path: Path, expected: dict[str, bytes]) -> None:
    """Alternately the whole worker and the process of a stage are killed; the moments are drawn from a seed."""
    repository, log = toy.make(tmp_path / "r"), tmp_path / "log"
    site = toy.site(tmp_path / "site.yaml", tmp_path / "scratch", retries=10, lost_workers=20)
    draws, killed = random.Random(0), 0
    with subprocess.Popen(
        toy.command("--site", str(site)), cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=toy.variables(TOY_LOG=str(log), TOY_STEP_S="1"),
    ) as head:  # fmt: skip
        while killed < 10 and head.poll() is None:
            time.sleep(draws.uniform(0, 3))
            with suppress(psutil.NoSuchProcess, IndexError, StopIteration):  # it ended meanwhile, or none is at work
                victim = draws.choice([each for each in descendants_in(tmp_path / "scratch") if is_stage(each)])
                if killed % 2:  # a stage outlives its killed worker for a moment, and then has none
                    victim = next(each for each in victim.parents() if is_worker(each))
                victim.kill()
                killed += 1
        printed, _ = head.communicate(timeout=600)
    assert head.returncode == 0, printed
    assert killed == 10
    assert toy.results(repository) == expected
    assert "resumes at" in log.read_text()


def test_a_killed_head_is_started_again_and_a_second_one_is_refused(tmp_path: Path, expected: dict[str, bytes]) -> None:
    repository, log = toy.make(tmp_path / "r"), tmp_path / "log"
    site = toy.site(tmp_path / "site.yaml", tmp_path / "scratch")
    with subprocess.Popen(
        toy.command("--site", str(site)), cwd=repository, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=toy.variables(TOY_LOG=str(log), TOY_STEP_S="0.5"),
    ) as head:  # fmt: skip
        wait_for(lambda: "evaluate" in log.read_text() if log.exists() else False)
        second = toy.scale(repository, "--jobs", "1")
        assert second.returncode == 1 and "error: tools.scale is running already" in second.stderr
        assert "running on" in toy.scale(repository, "--status").stdout
        head.kill()
    wait_for(lambda: not descendants_in(tmp_path))  # its workers notice, and end
    done = toy.scale(repository, "--site", str(site), TOY_LOG=str(log))
    assert done.returncode == 0, done.stdout + done.stderr
    assert toy.results(repository) == expected


def test_an_interrupt_stops_all_jobs_and_says_what_is_left(tmp_path: Path) -> None:
    repository, log = toy.make(tmp_path / "r"), tmp_path / "log"
    site = toy.site(tmp_path / "site.yaml", tmp_path / "scratch")
    with subprocess.Popen(
        toy.command("--site", str(site)), cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=toy.variables(TOY_LOG=str(log), TOY_STEP_S="30"), start_new_session=True,
    ) as head:  # fmt: skip
        wait_for(lambda: began(log, "train"))
        os.killpg(head.pid, signal.SIGINT)  # as a terminal does
        printed, complaint = head.communicate(timeout=60)
    assert head.returncode == 130
    assert complaint.strip().splitlines()[-1] == "Interrupted. Run the same command again to resume."
    assert "4 waiting" in printed
    wait_for(lambda: not descendants_in(tmp_path / "scratch"), 10)
    state = json.loads((repository / board.FOLDER / board.STATE).read_text())
    assert {row["state"] for row in state["models"].values()} == {"waiting"}
