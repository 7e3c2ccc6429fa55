"""Models side by side: the plan, each job's share of the machine, and DVC on a pipeline of one-line commands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from robustness_study.core.errors import StudyError
from tools import workspace
from tools.scale import __main__ as scale
from tools.scale import local, parameters, plan

NAMES = ["check", "split@0", "split@1", "train@a-clean-0", "train@a-clean-1", "evaluate@a-clean-0", "transfer",
         "evaluate@a-clean-1", "embed@a-clean-0", "compare"]  # fmt: skip
PIPELINE = """
stages:
  check:
    cmd: echo checked > checked.txt
    outs: [checked.txt]
  train:
    matrix: {key: [a-clean-0, b-clean-0, c-clean-0]}
    cmd: test ${item.key} != b-clean-0 -o -e mended && echo $OMP_NUM_THREADS > ${item.key}.model
    deps: [checked.txt]
    outs: ["${item.key}.model"]
  evaluate:
    matrix: {key: [a-clean-0, b-clean-0, c-clean-0]}
    cmd: cat ${item.key}.model > ${item.key}.figures
    deps: ["${item.key}.model"]
    outs: ["${item.key}.figures"]
  compare:
    cmd: cat *.figures > all.figures
    deps: [a-clean-0.figures, b-clean-0.figures, c-clean-0.figures]
    outs: [all.figures]
"""


def test_a_model_has_its_own_stages_in_order_and_the_rest_comes_before_or_after() -> None:
    found = plan.plan(NAMES)
    assert found.before == ["check", "split@0", "split@1"]
    assert found.models == {
        "a-clean-0": ["train@a-clean-0", "evaluate@a-clean-0", "embed@a-clean-0"],
        "a-clean-1": ["train@a-clean-1", "evaluate@a-clean-1"],
    }
    assert plan.plan(["check", "compare"]) == plan.Plan([], {})


def test_all_models_of_a_seed_come_before_the_next_seed() -> None:
    found = plan.plan([f"train@{loss}-clean-{seed}" for loss in ("b", "a") for seed in (7, 10, 0)])
    assert list(found.models) == ["b-clean-7", "a-clean-7", "b-clean-10", "a-clean-10", "b-clean-0", "a-clean-0"]


def test_every_stage_of_the_study_comes_after_what_it_needs() -> None:
    """The plan keeps the order of dvc.yaml, so the stages must be able to run in that order."""
    stages = YAML(typ="safe").load(workspace.ROOT / "dvc.yaml")["stages"]
    order, edges = list(stages), set()
    for maker, stage in stages.items():
        for out in [*stage.get("outs", []), *stage.get("plots", []), *stage.get("metrics", [])]:
            path = next(iter(out)) if isinstance(out, dict) else out
            edges |= {
                (maker, user) for user in order if any(may_be_the_same(path, dep) for dep in stages[user]["deps"])
            }
    known = {("corrupt", "training_set"), ("training_set", "train"), ("suite", "stress"), ("attack", "publish")}
    known |= {("publish", "transfer"), ("evaluate", "stability"), ("train", "evaluate"), ("download", "split")}
    assert known <= edges
    assert not [edge for edge in edges if order.index(edge[0]) >= order.index(edge[1])]


def may_be_the_same(path: str, dep: str) -> bool:
    """Whether some parameter values make both templates the same path, or make the dep a folder that holds the path."""
    one, other = (re.sub(r"\$\{[^}]+\}", "*", text.replace("${key}", "*-*-*")).split("/") for text in (path, dep))
    return len(other) <= len(one) and all(fnmatch(a, b) or fnmatch(b, a) for a, b in zip(one, other, strict=False))


def test_jobs_share_the_cores_or_have_a_gpu_each() -> None:
    assert plan.slots(2, [], 8) == [{"OMP_NUM_THREADS": "4"}] * 2
    assert plan.slots(3, [], 2) == [{"OMP_NUM_THREADS": "1"}] * 3
    on_gpus = [{"OMP_NUM_THREADS": "4", "CUDA_VISIBLE_DEVICES": gpu} for gpu in ("0", "3")]
    assert plan.slots(2, ["0", "3"], 8) == on_gpus


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(workspace.ROOT))  # this repository has no `tools` of its own
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, env=workspace.environment(), check=True)
    return tmp_path


def test_a_failed_model_stops_no_other_and_the_same_command_resumes(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-m", "tools.scale", "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "97"}
    assert subprocess.run(command, env=environment, check=False).returncode == 1
    output, complaint = capfd.readouterr()
    assert complaint.splitlines()[-1].startswith("error: failed: b-clean-0;")
    assert "b-clean-0: ERROR: failed to reproduce 'train@b-clean-0'" in output
    share = str(max(1, plan.cores() // 2))
    for key in ("a-clean-0", "c-clean-0"):
        assert f"{key}: Running stage 'evaluate@{key}':" in output.splitlines()
        assert (project / f"{key}.figures").read_text().strip() == share
    assert not (project / "all.figures").exists()
    kept = {"check", *(f"{stage}@{key}" for stage in ("train", "evaluate") for key in ("a-clean-0", "c-clean-0"))}
    assert set(YAML(typ="safe").load(project / "dvc.lock")["stages"]) == kept  # none was lost while two processes wrote

    (project / "mended").touch()
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    again, _ = capfd.readouterr()
    ran = re.findall(r"Running stage '(.+)'", again)
    assert ran == ["train@b-clean-0", "evaluate@b-clean-0", "compare"]
    assert (project / "all.figures").read_text().split() == [share] * 3


def test_error_of_dvc_for_an_unreadable_pipeline_is_shown(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "dvc.yaml").write_text(PIPELINE.replace("${item.key}", "${item.nothing}"), encoding="utf-8")
    assert local.run(project, plan.slots(1, [], 1)) == [local.BEFORE]
    assert "nothing" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("command", "begun"),
    [("test ${item.key} != b-clean-0 -o -e mended", "a-clean-0"), ("echo checked", "check")],
)
def test_an_interrupt_ends_running_stages_and_starts_no_more(project: Path, command: str, begun: str) -> None:
    """Only this process gets the signal (a terminal signals the group); its shell ignores interrupts."""
    sleeps = f"echo $$ > {'check' if begun == 'check' else '${item.key}'}.begun && sleep 300 && {command}"
    (project / "dvc.yaml").write_text(PIPELINE.replace(command, sleeps), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(workspace.ROOT)}
    side = f"trap '' INT HUP; exec {sys.executable} -m tools.scale --jobs 1"
    with subprocess.Popen(["sh", "-c", side], env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 120
            while not list(project.glob("*.begun")) and time.monotonic() < until:
                time.sleep(0.1)
            process.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            assert process.poll() is None
            process.send_signal(signal.SIGTERM)
            _, complaint = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130
    assert complaint.strip().splitlines()[-1] == "Interrupted. Run the same command again to resume."
    assert [path.name for path in project.glob("*.begun")] == [f"{begun}.begun"]
    with pytest.raises(ProcessLookupError):
        os.kill(int((project / f"{begun}.begun").read_text()), 0)  # the stage's shell
    assert not (project / "a-clean-0.model").exists()


@pytest.mark.slow
def test_each_named_gpu_runs_one_model_at_a_time(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = "gpu-$CUDA_VISIBLE_DEVICES"
    told = f"mkdir {gpu} && echo $CUDA_VISIBLE_DEVICES > ${{item.key}}.model && sleep 1 && rmdir {gpu}"
    (project / "mended").touch()
    (project / "dvc.yaml").write_text(PIPELINE.replace("echo $OMP_NUM_THREADS > ${item.key}.model", told))
    monkeypatch.setattr(sys, "argv", ["scale", "--gpus", "4", "6"])
    assert scale.main() == 0
    assert set((project / "all.figures").read_text().split()) == {"4", "6"}


def test_at_least_one_job(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["scale", "--jobs", "0"])
    with pytest.raises(SystemExit):
        scale.main()
    assert "--jobs is 0; at least 1 is needed" in capsys.readouterr().err


def test_values_from_the_command_line_are_set_before_the_run(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "params.yaml").write_text("word: old # said by every model\nkeys: [a-clean-0]\n", encoding="utf-8")
    (project / "dvc.yaml").write_text(
        'stages:\n  train:\n    matrix: {key: "${keys}"}\n    cmd: echo ${word} > ${item.key}.model\n'
        '    outs: ["${item.key}.model"]\n',
        encoding="utf-8",
    )
    monkeypatch.setattr(sys, "argv", ["scale", "-S", "word=new", "--set-param", "keys=[a-clean-0,b-clean-0]"])
    assert scale.main() == 0
    assert [(project / f"{key}-clean-0.model").read_text() for key in "ab"] == ["new\n", "new\n"]
    assert "word: new # said by every model\n" in (project / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("wrod=new", "Could not override 'wrod'; give KEY=VALUE, where KEY is in params.yaml"),
        ("word", "Error parsing override 'word'; give KEY=VALUE"),
        ("word=[0,", "give KEY=VALUE"),
        ("word=range(0,3)", "word=new word=range(0,3): a value is a sweep; write its values as a list"),
    ],
)
def test_a_wrong_value_is_told_in_one_line_and_changes_nothing(tmp_path: Path, value: str, said: str) -> None:
    (tmp_path / "params.yaml").write_text("word: old\n", encoding="utf-8")
    with pytest.raises(StudyError) as caught:
        parameters.set_values(tmp_path, ["word=new", value])
    assert str(caught.value).startswith("-S: ") and said in str(caught.value) and "\n" not in str(caught.value)
    assert (tmp_path / "params.yaml").read_text() == "word: old\n"


@pytest.mark.parametrize("other", ["--status", "--dry"])
def test_what_changes_nothing_sets_no_value(
    other: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["scale", other, "-S", "loss=angular"])
    with pytest.raises(SystemExit):
        scale.main()
    assert "-S changes params.yaml, and --status and --dry change nothing" in capsys.readouterr().err
