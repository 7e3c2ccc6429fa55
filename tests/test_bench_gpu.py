"""The benchmark for GPUs, on the processor: its budget, its parts, and what it does where something is missing."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from repositories import Repository

from bench.gpu import __main__ as program
from bench.gpu import checks, study_data, together, ways
from bench.gpu.budget import Part, outcome, run_parts
from bench.gpu.setting import Setting, endless_steps, training_of, warm_up
from bench.gpu.stems import peak_of, product_tflops
from bench.gpu.whole_models import WholeModels
from robustness_study.classifier.precision import precision_of
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.corruptions.copies import mixed_copies
from robustness_study.schema.corrupt import Corrupt
from tools import workspace

CPU = torch.device("cpu")
TINY = Setting(CPU, params.read(workspace.ROOT / "params.yaml"), tiny=True)
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler here")


# --- the budget --------------------------------------------------------------------------------------------------


def endless() -> None:
    """Work that takes every error for its own."""
    while True:
        try:
            time.sleep(0.01)
        except Exception:
            continue


def lacking() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB")


def wrong() -> None:
    raise KeyError("a part's own mistake")


def test_each_outcome_is_kept_and_a_failure_stops_no_other_part() -> None:
    kept: list[tuple[str, str]] = []
    parts = [
        Part("lacking", 0, lacking),
        Part("wrong", 0, wrong),
        Part("good", 0, lambda: 7),
        Part("large", 1000, lambda: 8),
        Part("slow", 0, endless, 0.1),
    ]
    missing = run_parts(parts, 900, lambda name, found: kept.append((name, found["state"])))
    assert kept == [
        ("lacking", "failed"), ("wrong", "failed"), ("good", "done"), ("large", "skipped"), ("slow", "stopped"),
    ]  # fmt: skip
    assert missing == ["lacking", "wrong", "large", "slow"]


def test_when_the_time_is_up_the_last_part_is_stopped_and_no_other_begins() -> None:
    kept: list[tuple[str, str]] = []
    parts = [Part("endless", 0, endless), Part("late", 0.1, lambda: 9)]
    missing = run_parts(parts, 2, lambda name, found: kept.append((name, found["state"])))
    assert kept == [("endless", "stopped"), ("late", "skipped")] and missing == ["endless", "late"]


def test_an_outcome_has_the_result_or_the_reason_in_one_line() -> None:
    assert outcome(Part("good", 0, lambda: 7), 5)["result"] == 7
    failed = outcome(Part("lacking", 0, lacking), 5)
    assert failed["reason"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert outcome(Part("slow", 0, endless, 0.1), 5)["reason"] == "it was not done after 0 s"
    assert outcome(Part("large", 9, lambda: 8), 5.2)["reason"] == "5 s were left; it needs 9 s"


# --- the program -------------------------------------------------------------------------------------------------


def run_program(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["gpu", "--out", str(folder), *arguments])
    monkeypatch.setenv("STUDY_DEVICE", "cpu")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # the program sets it; put it back afterwards
    monkeypatch.chdir(workspace.ROOT)
    return program.main()


def test_without_a_gpu_it_says_how_to_try_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no CUDA device here; run it on a machine that has one, or add --tiny"):
        run_program(monkeypatch, tmp_path)
    with pytest.raises(
        StudyError, match=r"--parts has 'fast', which does not exist; choose from tests, speed-imagenet, "
    ):
        run_program(monkeypatch, tmp_path, "--tiny", "--parts", "fast")


def test_results_of_the_same_machine_are_joined_and_a_failure_replaces_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found: dict[str, Any] = {"one": 1, "two": 2}

    def parts(given: Setting) -> list[Part]:
        return [Part(name, 0, lambda name=name: found[name] or lacking()) for name in found]  # type: ignore[misc,func-returns-value]

    monkeypatch.setattr(program, "parts_of", parts)
    assert run_program(monkeypatch, tmp_path, "--tiny", "--parts", "one") == 0
    assert run_program(monkeypatch, tmp_path, "--tiny", "--parts", "two") == 0
    found["one"] = 0
    assert run_program(monkeypatch, tmp_path, "--tiny") == 1
    (path,) = tmp_path.glob("gpu-tiny-*.json")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert {name: part["result"] for name, part in written["parts"].items()} == {"one": 1, "two": 2}
    assert written["tiny"] is True
    path.write_text(json.dumps(written | {"machine": {"device": "another"}}), encoding="utf-8")
    assert run_program(monkeypatch, tmp_path, "--tiny", "--parts", "two") == 0
    assert list(json.loads(path.read_text(encoding="utf-8"))["parts"]) == ["two"]


def test_a_file_is_named_after_the_card(tmp_path: Path) -> None:
    machine = {"device": "NVIDIA H100 80GB HBM3"}
    assert program.file_of(tmp_path, machine, False).name == "gpu-nvidia-h100-80gb-hbm3.json"


# --- the parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-40GB", 312.0),
        ("NVIDIA A10G", None),
        ("", None),
    ],
)
def test_peak_is_that_of_the_card(card: str, peak: float | None) -> None:
    assert peak_of(card) == peak


def test_product_is_counted_by_multiplications_and_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that advances by one second each time it is read: each product takes a second."""
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    assert product_tflops(TINY) == 2 * 256**3 / 1e12


def test_counts_of_tests_are_those_of_junit() -> None:
    cases = '<testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><skipped/></testcase>'
    found = checks.counts(f'<testsuites><testsuite>{cases}<testcase name="d"/></testsuite></testsuites>')
    assert found == {"passed": 2, "failed": 1, "skipped": 1, "failures": ["b"]}


def test_a_step_of_the_network_is_that_of_the_engine_without_augmentation() -> None:
    """From the same start, on the same batch and with the same learning rate, both end with the same weights."""
    off: dict[str, Any] = {
        "trivial_augment": False,
        "crop_padding": 0,
        "flip": "off",
        "cutout_pixels": 0,
        "batch_size": TINY.images,
    }
    one, other = (training_of(TINY, **off) for _ in range(2))
    one.learning_rate = lambda step: 0.01  # type: ignore[method-assign]
    one.done = 1  # the first step of an average has no average to move
    other_step = ways.network_step(other, *batch_of(one))
    warm = endless_steps(one)
    next(warm)
    other.model.train()
    other_step()
    for name, tensor in one.model.state_dict().items():
        torch.testing.assert_close(tensor, other.model.state_dict()[name], msg=name, rtol=1e-4, atol=1e-5)


def batch_of(training: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The first batch of the first epoch, as the engine draws it."""
    from robustness_study.classifier.inference import to_float
    from robustness_study.training.batches import epoch_batches

    (positions,) = epoch_batches(training.batches, training.labels, training.recipe.batch_size, training.seed, 1)
    chosen = torch.from_numpy(positions)
    return to_float(training.training.images[chosen]), training.training.labels[chosen]


def test_whole_models_train_on_the_studys_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = study_data.load(TINY)
    section = params.validated("corrupt", TINY.params["corrupt"], Corrupt)
    expected, _ = mixed_copies(data.test["clean"], section.mix.strengths(), section.seed, "test")
    assert np.array_equal(data.test["corrupted"], expected)
    assert sorted(np.concatenate([*study_data.indices_of(data, TINY, 1).values()])) == list(
        range(len(data.train_labels))
    )
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    for name in ("train", "test"):
        np.savez(f"data/raw/{name}.npz", images=data.train["clean"], labels=data.train_labels)
    found = study_data.raw_images(Setting(CPU, TINY.params, tiny=False))
    assert np.array_equal(found[2], data.train["clean"]) and np.array_equal(found[1], data.train_labels)


@pytest.mark.parametrize(("accuracies", "epochs"), [([0.95], 15), ([0.5, 0.8, 0.9], 60)])
def test_the_shortest_training_that_reaches_the_goal_counts(
    accuracies: list[float], epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, scores = WholeModels(Setting(CPU, TINY.params, tiny=False)), iter([*accuracies, 0.77])
    monkeypatch.setattr(models, "data", lambda: study_data.load(TINY))
    monkeypatch.setattr(models, "trained", lambda train_set, seed, epochs: (None, [], None, float(epochs)))
    monkeypatch.setattr(models, "accuracy", lambda *given: next(scores))
    found = models.time_to_accuracy()
    assert (found["seconds"], found["test_accuracy"]) == (epochs, 0.77)
    assert [row["val_accuracy"] for row in found["tried"]] == accuracies


def test_no_training_that_reaches_the_goal_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    models = WholeModels(Setting(CPU, TINY.params, tiny=False))
    monkeypatch.setattr(models, "data", lambda: study_data.load(TINY))
    monkeypatch.setattr(models, "trained", lambda train_set, seed, epochs: (None, [], None, 1.0))
    monkeypatch.setattr(models, "accuracy", lambda *given: 0.5)
    with pytest.raises(StudyError, match=r"reached 0.9 on validation images \(0.500 after 15, .*; try more epochs"):
        models.time_to_accuracy()


def test_a_process_that_cannot_train_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_DEVICE", "nonsense")
    with pytest.raises(StudyError, match="one of 2 processes could not start to train; see above"):
        together.together(TINY, 2)


# --- what may be missing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(
    native: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert precision_of("auto", torch.device("cuda"), "resnet18") == dtype
    assert precision_of("bfloat16", torch.device("cuda"), "resnet18") == torch.bfloat16


def test_too_little_memory_for_one_way_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ways.ways

    def short(given: Setting) -> dict[str, Any]:
        chosen = {name: make for name, make in whole(given).items() if "compiled" not in name}
        return {"large": lambda: lacking} | chosen

    monkeypatch.setattr(ways, "ways", short)
    found = ways.measure(TINY)["ways"]
    assert found["large"]["error"].startswith("OutOfMemoryError: CUDA out of memory")
    assert found["network, eager"]["milliseconds"]["n"] == TINY.turns
    if not torch.cuda.is_available():
        assert found["network, graph"]["error"] == "a CUDA graph needs a GPU; run it on one"


@pytest.mark.slow
@needs_compiler
def test_a_compiled_model_trains_like_the_same_model_uncompiled() -> None:
    found = []
    for compiled in (False, True):
        training = training_of(TINY, compile=compiled, precision="float32")
        steps = endless_steps(training)
        warm_up(training, steps, TINY)
        assert (training.features == training.model.features) is not compiled
        found.append(training.losses[:3].clone())
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_without_a_compiler_the_other_ways_are_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    found = ways.measure(TINY)["ways"]
    for name in ("whole step, compiled", "network, compiled"):
        assert "no-such-compiler" in found[name]["error"]
    assert found["whole step, eager"]["milliseconds"]["n"] == TINY.turns


# --- end to end --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_part_runs_with_tiny_settings(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    workspace.create(repository.path, {})
    repository.typed("STUDY_DEVICE=cpu python -m bench.gpu --tiny --out tried")
    (path,) = (repository.path / "tried").glob("gpu-tiny-*.json")
    written = json.loads(path.read_text(encoding="utf-8"))
    assert {part["state"] for part in written["parts"].values()} == {"done"}
    assert list(written["parts"]) == [part.name for part in program.parts_of(TINY)]
    assert not repository.run("git", "status", "--porcelain", "bench/results")
