"""The demo's copy of the working tree: from a repository, and from a folder that is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robustness_study.core.errors import StudyError
from robustness_study.core.imports import ROOT
from robustness_study.corruptions import CIFAR_10_C, HELD_OUT
from tools import demo, workspace

FILES = {
    ".gitignore": "/data/*\n!/data/raw/\n/data/raw/*\n!/data/raw/source.json\n*.pyc\n/.demo/\n",
    "params.yaml": "recipe: cpu # 2×2 → ε\nseeds: [0, 1]\n",
    "dvc.lock": "old results",
    "reports/report.md": "old results",
    "reports/live/none.tsv": "",
    "data/raw/source.json": "{}",
    "stages/ε train.py": "pass\n",
}
IGNORED = ("data/raw/train.npz", "stages/train.pyc", ".demo/params.yaml")
COPIED = [".gitignore", "params.yaml", "reports/live/none.tsv", "stages/ε train.py"]


def git(*arguments: str, folder: Path) -> None:
    subprocess.run(["git", *arguments], cwd=folder, env=workspace.environment(), check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project as it is after unpacking a ZIP file and a run."""
    root = tmp_path / "project"
    for name, content in {**FILES, **dict.fromkeys(IGNORED, "")}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content, encoding="utf-8")
    monkeypatch.setattr(workspace, "ROOT", root)
    monkeypatch.setattr(workspace, "PLOTS_SCRIPT", root / "absent.js")
    return root


def unpacked(root: Path) -> None:
    pass


def repository(root: Path) -> None:
    git("init", "-q", folder=root)
    git("add", "-A", folder=root)
    git("commit", "-q", "-m", "One", folder=root)


def without_commits(root: Path) -> None:
    git("init", "-q", folder=root)


def of_another_user(root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another user")
    repository(root)
    for path in (root, *root.rglob("*")):
        os.chown(path, 12345, 12345)
    with pytest.raises(StudyError, match="dubious ownership"):
        workspace.git("status", folder=root)


def within_another(root: Path) -> None:
    (root.parent / ".gitignore").write_text("*\n", encoding="utf-8")
    git("init", "-q", folder=root.parent)


def damaged(root: Path) -> None:
    repository(root)
    (root / ".git/HEAD").write_bytes(bytes(20))


def worktree(root: Path) -> None:
    repository(root)
    (root / ".git").rename(root.parent / "elsewhere")
    (root / ".git").write_text(f"gitdir: {root.parent}/elsewhere\n", encoding="utf-8")


STATES = (unpacked, repository, without_commits, of_another_user, within_another, damaged, worktree)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_the_same_files_are_copied_whatever_git_knows(root: Path, state: Callable[[Path], None]) -> None:
    state(root)
    before = sorted(root.iterdir())
    target = root / ".demo"
    workspace.create(target, {"recipe": "gpu"})
    copied = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    assert [name for name in copied if not name.startswith(".git/")] == COPIED
    assert (target / "params.yaml").read_text(encoding="utf-8") == FILES["params.yaml"].replace("cpu", "gpu")
    assert workspace.git("status", "--porcelain", folder=target) == ""
    assert workspace.git("rev-list", "--count", "HEAD", folder=target) == "1\n"
    assert sorted(root.iterdir()) == before


def test_params_are_changed_in_any_locale(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(FILES["params.yaml"], encoding="utf-8")
    program = tmp_path / "program.py"
    program.write_text(
        "from pathlib import Path\nfrom tools.workspace import change_params\n"
        "change_params(Path('params.yaml'), {'recipe': 'gpu'})\n",
        encoding="utf-8",
    )
    narrow = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, program], cwd=tmp_path, env=os.environ | narrow, check=True)
    assert path.read_text(encoding="utf-8") == FILES["params.yaml"].replace("cpu", "gpu")


def test_a_user_without_a_name_gets_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC uses `getpass.getuser`, which fails for a number that the system has no name for."""
    program = "import getpass, pwd\npwd.getpwuid = {}.__getitem__\nprint(getpass.getuser())"
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, "-c", program]
    assert subprocess.check_output(command, env=workspace.environment(), encoding="utf-8") == "demo\n"
    monkeypatch.setenv("LOGNAME", "somebody")
    assert subprocess.check_output(command, env=workspace.environment(), encoding="utf-8") == "somebody\n"


def test_a_missing_git_is_one_line_and_removes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", str(root / "python"))
    with pytest.raises(StudyError, match=r"^git is not installed, and DVC needs it; install git and run the command"):
        workspace.create(root / ".demo", {})
    assert (root / ".demo/params.yaml").exists()


def test_git_tells_why_it_failed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "git").write_text("#!/bin/sh\necho 'fatal: first' >&2\necho 'then: é' >&2\nexit 128\n", encoding="utf-8")
    (root / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{root}:/usr/bin:/bin")
    monkeypatch.setattr(sys, "executable", str(root / "python"))
    message = rf"^`git init` failed in {root}: fatal: first then: é; correct this and run again$"
    with pytest.raises(StudyError, match=message):
        workspace.create(root / ".demo", {})


# --- the demo's values --------------------------------------------------------------------------------------------


def test_the_demo_keeps_an_own_network_and_own_corruptions() -> None:
    values: dict[str, Any] = {
        "recipe": "cpu",
        "recipes": {"cpu": {"network": "resnet18"}, "quick": {"network": "resnet18_narrow"}},
        "suite": {"corruptions": [*CIFAR_10_C, *HELD_OUT, "mix_without_flip"]},
    }
    as_it_is = demo.overrides(values)
    assert as_it_is["recipes.cpu.network"] == "resnet18_narrow"
    assert as_it_is["suite.corruptions"] == demo.CORRUPTIONS
    values["recipe"] = "quick"
    values["recipes"]["quick"]["network"] = "small_cnn"
    values["suite"]["corruptions"] = ["gaussian_noise", "fog", "fade"]
    own = demo.overrides(values)
    assert own["recipes.cpu.network"] == "small_cnn"
    assert own["suite.corruptions"] == [*demo.CORRUPTIONS, "fade"]


def test_the_demo_leaves_wrong_params_to_the_stage_check() -> None:
    for values in ({"recipe": "none", "recipes": {}}, {"recipe": "cpu", "recipes": None}, {}):
        found = demo.overrides(values)
        assert found["recipes.cpu.network"] == "resnet18_narrow" and found["suite.corruptions"] == demo.CORRUPTIONS
