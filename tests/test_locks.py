"""No two processes write the same outputs, and no stage outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robustness_study.core import locks
from robustness_study.core.errors import StudyError
from robustness_study.core.locks import held
from stages import train

REPOSITORY = Path(__file__).parents[1]
HOLDER = """
from robustness_study.core import locks
from robustness_study.core.locks import held
from stages import train
with held("cell"):
    print("held", flush=True)
    input()
"""


def test_a_name_is_locked_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        message = f"cell is running already, in process {other.pid}, and writes the same files; wait for it or stop it"
        with pytest.raises(StudyError, match=message), held("cell", patience_s=0.2):
            pass
        with held("another", patience_s=0):
            pass
        other.kill()  # no time to clean up
        other.wait()
        with held("cell"):
            pass


# A stage that never ends by itself: it waits for a reader of a pipe.
SLOW = """
import time
from robustness_study.core.program import run
def main():
    print("begun", flush=True)
    time.sleep(60)
if __name__ == "__main__":
    run(main)
"""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder with a stage `slow` beside the project's own package `stages`."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").write_text((REPOSITORY / "stages/__init__.py").read_text(encoding="utf-8"))
    (tmp_path / "stages/slow.py").write_text(SLOW)
    return tmp_path


def start(top: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{top}:{REPOSITORY}"}
    command = [sys.executable, "-m", "stages.slow", *arguments]
    return subprocess.Popen(
        command, cwd=top, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_stage_runs_once_at_a_time_for_the_same_arguments(top: Path) -> None:
    with start(top, "--loss", "a", "--seed", "0") as one:
        assert one.stdout is not None and one.stdout.readline() == "begun\n"
        with start(top, "--loss", "a", "--seed", "1") as another:  # other arguments: other outputs
            assert another.stdout is not None and another.stdout.readline() == "begun\n"
            another.kill()
        (top / "impatient.py").write_text(
            "import runpy, sys\nfrom robustness_study.core import locks\n"
            "locks.held.__wrapped__.__defaults__ = (0.1, locks.TOP)\n"
            "sys.argv = ['slow', '--loss', 'a', '--seed', '0']\n"
            "runpy.run_module('stages.slow', run_name='__main__', alter_sys=True)\n"
        )
        environment = {**os.environ, "PYTHONPATH": f"{top}:{REPOSITORY}"}
        done = subprocess.run(
            [sys.executable, "impatient.py"], cwd=top, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 1 and done.stderr.startswith(
            f"error: slow-a-0 is running already, in process {one.pid}"
        )
        one.kill()


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("--loss a --train-set c --seed 0", "train-a-c-0"),
        ("--loss=a --train-set=c --seed=0", "train-a-c-0"),
        ("--seed 00 --train-set c --loss a", "train-a-c-0"),
        ("--loss a --train-set c --seed 1", "train-a-c-1"),
    ],
)
def test_a_lock_has_one_name_however_the_arguments_are_typed(
    typed: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(locks, "held", lambda name: asked.append(name))
    monkeypatch.setattr(sys, "argv", ["train", *typed.split()])
    locks.of_stage(train.main)
    assert asked == [name]


@pytest.mark.parametrize("shell", [False, True])
def test_a_stage_ends_with_its_parent(top: Path, shell: bool) -> None:
    """Also where a shell is between the two, as under DVC, and before the stage has imported anything heavy."""
    command = f"{sys.executable} -m stages.slow"
    parent_code = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen({command!r} + ('; true' if {shell} else ''), shell=True, stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline(), flush=True); child.wait()"
    )
    environment = {**os.environ, "PYTHONPATH": f"{top}:{REPOSITORY}"}
    with subprocess.Popen(
        [sys.executable, "-c", parent_code], cwd=top, env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None and "begun" in parent.stdout.readline()
        holder = top / ".locks/slow.lock"
        child = int(holder.read_text().split()[1])
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        for _ in range(100):
            if not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text():
                break
            time.sleep(0.1)
        else:
            pytest.fail("the stage outlives its parent")
