"""The study on a GPU, on the processor: its params, its order, its stop, what it packs, and all of it when tiny."""

from __future__ import annotations

import json
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from repositories import Repository

from bench import gpu_study
from bench.gpu_study import Study, by_seed, overrides, pack
from robustness_study.check import check
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from tools import workspace
from tools.scale.processes import interruptible

KEYS = [f"a-{train_set}-{seed}" for train_set in ("clean", "corrupted") for seed in (0, 1)]
# The stages of the study that its order depends on, each of one line.
PIPELINE = f"""
stages:
  check:
    cmd: echo checked > checked.txt
    outs: [checked.txt]
  suite:
    cmd: sleep 1 && echo suite > suite.txt
    deps: [checked.txt]
    outs: [suite.txt]
  train:
    matrix: {{key: {json.dumps(KEYS)}}}
    cmd: echo ${{item.key}} >> order.txt && sleep 0.2 && echo model > ${{item.key}}.model
    deps: [checked.txt]
    outs: ["${{item.key}}.model"]
  stress:
    matrix: {{key: {json.dumps(KEYS)}}}
    cmd: cat suite.txt ${{item.key}}.model > ${{item.key}}.figures
    deps: ["${{item.key}}.model", suite.txt]
    outs: ["${{item.key}}.figures"]
  stability:
    cmd: cp {KEYS[0]}.model stability.txt
    deps: ["{KEYS[0]}.model"]
    outs: [stability.txt]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(workspace.ROOT))  # this repository has no `tools` of its own
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, env=workspace.environment(), check=True)
    return tmp_path


@pytest.mark.parametrize("tiny", [False, True])
def test_its_params_are_valid(tiny: bool, tmp_path: Path) -> None:
    copy = tmp_path / "params.yaml"
    copy.write_text((workspace.ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    workspace.change_params(copy, overrides([0, 1], 30 if tiny else 10_000, tiny))
    values = params.read(copy)
    check(values)
    assert values["recipe"] == "gpu" and values["seeds"] == [0, 1]
    attacks = values["attack"]["attacks"]
    attacked = [values["attack"]["images"], *(attacks[name]["images"] for name in ("pgd", "apgd", "square"))]
    assert {*attacked, values["suite"]["images"]} == {30 if tiny else 10_000}


def test_models_are_ordered_by_seed() -> None:
    assert by_seed(KEYS, [1, 0]) == {1: ["a-clean-1", "a-corrupted-1"], 0: ["a-clean-0", "a-corrupted-0"]}


def test_a_seed_is_whole_before_the_next_begins_and_each_is_packed(project: Path) -> None:
    packed: list[list[int]] = []
    study = Study(project, [0, 1], 1, lambda: packed.append([*study.whole]))
    study.models(time.monotonic() + 120)
    assert study.whole == [0, 1] and packed == [[0], [0, 1]]
    assert (project / "order.txt").read_text().split() == ["a-clean-0", "a-corrupted-0", "a-clean-1", "a-corrupted-1"]
    assert sorted(study.seconds) == sorted(KEYS) and (project / "stability.txt").exists()
    assert "Running stage 'train@a-clean-0'" in (project / "logs/a-clean-0.log").read_text()


def test_when_the_time_is_up_what_runs_is_stopped_and_whole_seeds_stay(project: Path) -> None:
    long = PIPELINE.replace("sleep 0.2", "case ${item.key} in *-1) sleep 300;; esac")
    (project / "dvc.yaml").write_text(long, encoding="utf-8")
    study = Study(project, [0, 1], 2, lambda: None)
    stopped: list[float] = []

    def stop() -> None:
        limit = time.monotonic() + 300  # reached only if the first seed fails, however busy the machine is
        while not study.whole and time.monotonic() < limit:
            time.sleep(0.1)
        stopped.append(time.monotonic())
        Study.stop(study)

    study.stop = stop  # type: ignore[method-assign]
    with interruptible():  # as in `main`: in the background of a shell, the stages would inherit that SIGINT is ignored
        study.models(time.monotonic())
    assert study.whole == [0] and time.monotonic() - stopped[0] < 60
    assert not (project / "a-clean-1.model").exists()
    assert not study.runner.running


def test_a_failed_model_leaves_the_other_seed_whole(project: Path) -> None:
    (project / "dvc.yaml").write_text(PIPELINE.replace("sleep 0.2", "test ${item.key} != a-clean-0"), encoding="utf-8")
    study = Study(project, [0, 1], 2, lambda: None)
    study.models(time.monotonic() + 120)
    assert study.whole == [1] and "a-clean-0" not in study.seconds


def test_a_failed_first_stage_is_told(project: Path) -> None:
    (project / "dvc.yaml").write_text(PIPELINE.replace("echo checked", "false"), encoding="utf-8")
    with pytest.raises(StudyError, match=r"a stage before the models failed; see .*logs/before.log"):
        Study(project, [0], 1, lambda: None).models(time.monotonic() + 60)


def test_small_results_are_packed_and_no_image(tmp_path: Path) -> None:
    root = tmp_path / "study"
    kept = ["dvc.lock", "params.yaml", "reports/report.md", "reports/cells/a/clean-0/attack.json", "logs/before.log",
            "data/cells/a-clean-0/evaluate.json"]  # fmt: skip
    left = ["reports/report.html", "reports/examples/a.png", "reports/live/x.tsv", "models/a/weights.safetensors",
            "data/raw/train.npz", "reports/.report.123.md"]  # fmt: skip
    for name in (*kept, *left):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    target = tmp_path / "out" / "packed.tar.xz"
    for _ in range(2):  # the second replaces the first
        pack(root, target)
    with tarfile.open(target) as archive:
        assert sorted(archive.getnames()) == sorted(kept)
        content = archive.extractfile("reports/report.md")
        assert content is not None and content.read() == b"reports/report.md"
    assert [path.name for path in target.parent.iterdir()] == ["packed.tar.xz"]


def test_packing_goes_on_while_files_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that replaces its results does not end the packing."""
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/there.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(gpu_study, "files_to_pack", lambda root: iter([root / "gone", root / "reports/there.json"]))
    pack(tmp_path, tmp_path / "packed.tar.xz")
    with tarfile.open(tmp_path / "packed.tar.xz") as archive:
        assert archive.getnames() == ["reports/there.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no CUDA device here; run it on a machine that has one, or add --tiny"),
        (["--jobs", "0"], "--jobs or --images is below 1"),
    ],
)
def test_what_it_refuses(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["gpu_study", *arguments])
    monkeypatch.setenv("STUDY_DEVICE", "cpu")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    with pytest.raises(StudyError, match=message):
        gpu_study.main()


def summary_of(packed: Path) -> dict[str, Any]:
    with tarfile.open(packed) as archive:
        stream = archive.extractfile(gpu_study.SUMMARY)
        assert stream is not None
        found: dict[str, Any] = json.load(stream)
        return found | {"names": archive.getnames()}


@pytest.mark.slow
def test_the_whole_study_with_tiny_settings(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    workspace.create(repository.path, {})
    printed = repository.typed("STUDY_DEVICE=cpu python -m bench.gpu_study --tiny --seeds 0 1 --minutes 12")
    assert "whole seeds [0, 1], not whole [], compared: True" in printed
    found = summary_of(repository.path / gpu_study.PACKED)
    assert {"reports/report.md", "reports/statistics.json", "dvc.lock"} <= set(found["names"])
    assert len(found["seconds_of_models"]) == 4 and not [name for name in found["names"] if name.endswith(".npz")]


@pytest.mark.slow
def test_a_study_whose_time_is_too_short_packs_what_there_is(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    workspace.create(repository.path, {})
    command = "STUDY_DEVICE=cpu python -m bench.gpu_study --tiny --seeds 0 1 --minutes 0.5"
    started = time.monotonic()
    printed = repository.run("bash", "-c", command, fails=True)
    assert "whole seeds [], not whole [0, 1], compared: False" in printed and time.monotonic() - started < 90
    found = summary_of(repository.path / gpu_study.PACKED)
    assert found["whole_seeds"] == [] and "logs/before.log" in found["names"]
