"""The parts of the benchmarks. No test asserts a time."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacked import study_of

from bench import (
    adversarial,
    against,
    autoattack,
    convolutions,
    corruptions,
    measuring,
    plain,
    report,
    speed,
    time_to_accuracy,
    trials,
)
from robustness_study.core import params
from robustness_study.core.cell import Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, write_record
from robustness_study.networks import Network, _convolution
from robustness_study.networks._convolution import Convolution3x3
from robustness_study.schema.recipe import Recipe

CPU = torch.device("cpu")
REPOSITORY = Path(__file__).resolve().parents[1]


def test_summary_has_n_median_and_range() -> None:
    assert report.summary([3.0, 1.0, 7.0]) == {"n": 3, "median": 3.0, "min": 1.0, "max": 7.0}


def test_machine_lists_what_a_timing_depends_on() -> None:
    machine = report.machine(CPU)
    assert machine["device"] and machine["threads"] == torch.get_num_threads()
    assert machine["versions"]["torch"] == torch.__version__.split("+")[0]


def test_plain_training_loop_learns() -> None:
    """The loop that is compared with ours is a fair one: it learns."""
    rng = np.random.default_rng(0)
    labels = np.arange(256) % 2
    images = rng.integers(0, 128, (256, 16, 16, 3), dtype=np.uint8)
    images[labels == 1] += 100
    torch.manual_seed(0)
    network = plain.model(2)
    plain.train(network, images, labels, 12, CPU)
    assert plain.accuracy(network, images, labels, CPU) == 1


@pytest.mark.parametrize("stem", ["imagenet", "half", "cifar"])
def test_plain_network_is_torchvisions_with_the_projects_stem(stem: str) -> None:
    """It has as many weights as the project's network, and none of the project's convolutions."""
    network, ours = plain.model(10, stem), Network("resnet18", stem, 32).make_backbone()[0]
    head = 512 * 10 + 10
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in ours.parameters()) + head
    assert not any(isinstance(module, Convolution3x3) for module in network.modules())
    assert any(isinstance(module, Convolution3x3) for module in ours.modules())


def test_speeds_are_measured_in_the_requested_number_of_turns() -> None:
    values = params.read(REPOSITORY / "params.yaml")
    recipe = Recipe.model_validate(values["recipes"]["cpu"] | {"stem": "imagenet", "epochs": 3, "batch_size": 8})
    row = speed.measure(recipe, turns=2, seconds=0, on=CPU)
    for name in ("ours", "plain", "ratio"):
        assert row[name]["n"] == 2 and 0 < row[name]["min"] <= row[name]["median"] <= row[name]["max"]


def test_adversarial_training_is_measured_in_every_turn() -> None:
    values = params.read(REPOSITORY / "params.yaml")
    recipe = Recipe.model_validate(values["recipes"]["cpu"] | {"stem": "imagenet", "batch_size": 8})
    found = adversarial.measure(recipe, turns=2, steps=2, on=CPU)
    assert all(row["n"] == 2 and 0 < row["min"] <= row["median"] for row in found.values())
    assert found["time_of_step"]["median"] > 1.2


def test_a_turn_ends_after_its_seconds_or_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that advances by one second each time it is read."""
    clock = iter(range(100))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    # The clock is read three times until two seconds have passed, and once at the end: 4 and 8 images in 3 seconds.
    assert speed.speed_of(iter([4, 8, 16]), 2, CPU) == (4 + 8) / 3
    assert speed.speed_of(iter([4, 8, 16]), 50, CPU) == (4 + 8 + 16) / 4


def test_trials_are_added_to_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)

    def trial(changes: dict[str, Any], *given: Any, also_on: list[str]) -> dict[str, Any]:
        row = {"changes": changes, "given": given, "val_accuracy": 0.5, "seconds": 1, "recipe_name": "cpu"}
        return row | {"also_on": dict.fromkeys(also_on, 0.25)}

    monkeypatch.setattr(trials, "trial", trial)
    more = ["--loss", "angular", "--train-set", "corrupted", "--recipe", "gpu"]
    also = ["--also-on", "clean", "--also-on", "augmix"]
    for arguments in (['{"epochs": 2}', "{}"], ['{"flip": "off"}', *more, *also]):
        monkeypatch.setattr("sys.argv", ["trials", *arguments])
        trials.main()
    rows = json.loads((tmp_path / "trials.json").read_text(encoding="utf-8"))
    assert [row["changes"] for row in rows] == [{"epochs": 2}, {}, {"flip": "off"}]
    first = ["cross_entropy", {}, "clean", 0, None]
    assert [row["given"] for row in rows] == [first, first, ["angular", {}, "corrupted", 0, "gpu"]]
    assert [list(row["also_on"]) for row in rows] == [[], [], ["clean", "augmix"]]
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition("  1 s")[0] for line in printed] == [
        "0.5000 on clean",
        "0.5000 on clean",
        "0.5000 on corrupted  0.2500 on clean  0.2500 on augmix",
    ]


@pytest.mark.parametrize("images", ["0", "-3"])
def test_autoattack_refuses_fewer_than_one_image(
    images: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["autoattack", "--images", images])
    with pytest.raises(SystemExit):
        autoattack.main()
    assert f"--images is {images}; at least 1 is needed" in capsys.readouterr().err


def test_corruptions_are_timed_in_batches_and_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(corruptions, "BENCHMARK", ("brightness", "contrast"))
    monkeypatch.setattr("sys.argv", ["corruptions", "--images", "4", "--one-by-one", "2"])
    try:
        corruptions.main()
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "corruptions-cpu.json").read_text(encoding="utf-8"))
    assert [(row["corruption"], row["severity"]) for row in found["rows"]] == [
        (name, severity) for name in ("brightness", "contrast") for severity in range(1, 6)
    ]
    assert found["ms_per_image"] > 0 and found["ms_per_image_one_by_one"] > 0 and found["slowest_to_median"] >= 1


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with a shortened copy of the committed params, and a few images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time_to_accuracy, "PLAIN_EPOCHS", 1)
    monkeypatch.setattr(time_to_accuracy, "QUICK", time_to_accuracy.QUICK | {"epochs": 1, "batch_size": 10})
    values = params.read(REPOSITORY / "params.yaml")
    values["recipes"]["cpu"] |= {"stem": "imagenet", "epochs": 1, "batch_size": 10, "watched_images": 10}
    Path("params.yaml").write_text(json.dumps(values), encoding="utf-8")
    rng = np.random.default_rng(0)
    for folder in ("raw", "training_sets", "split"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for split in ("train", "test"):
        images = rng.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        np.savez(f"data/raw/{split}.npz", images=images, labels=(np.arange(40) % 10).astype(np.uint8))
        np.savez("data/training_sets/clean.npz", images=images)
    np.savez("data/split/0.npz", train=np.arange(20), val=np.arange(20, 40))
    source = {"classes": [str(label) for label in range(10)]}
    write_record("data/raw/source.json", source)


def test_both_runs_of_a_turn_end_with_an_accuracy(study: None) -> None:
    given = time_to_accuracy.data()
    for run in (time_to_accuracy.train_ours, time_to_accuracy.train_plain):
        assert 0 <= run(given, 0, CPU) <= 1


def test_a_trial_is_scored_on_all_validation_images(study: None) -> None:
    row = trials.trial({"flip": "off"}, "normface", {"scale": 8.0}, "clean", 0)
    assert row["val_images"] == 20 and 0 <= row["val_accuracy"] <= 1 and row["recipe"]["flip"] == "off"
    assert row["changes"] == {"flip": "off", "loss_config": {"scale": 8.0}} and row["loss"] == "normface"
    assert row["seed"] == 0 and row["also_on"] == {}


def test_a_trial_is_scored_on_the_images_of_other_training_sets(study: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a classifier that reads the class from the first pixel."""
    (images,) = read_npz("data/training_sets/clean.npz", "images")
    for name, first_pixels in (("right", np.arange(40) % 10), ("wrong", np.arange(1, 41) % 10), ("threes", 3)):
        images[:, 0, 0, 0] = first_pixels
        np.savez(f"data/training_sets/{name}.npz", images=images)

    def reads_first_pixels(model: Any, images: np.ndarray, batch_size: int) -> tuple[np.ndarray, None]:
        return np.eye(10, dtype=np.float32)[images[:, 0, 0, 0]], None

    monkeypatch.setattr(trials, "outputs_of", reads_first_pixels)
    row = trials.trial({}, "cross_entropy", {}, "wrong", 0, also_on=["right", "threes"])
    assert row["val_accuracy"] == 0 and row["also_on"] == {"right": 1, "threes": 0.1}


def test_a_missing_set_is_noticed_before_a_trial_trains(study: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "train_cell", None)
    with pytest.raises(StudyError, match=r"data/training_sets/fog.npz does not exist"):
        trials.trial({}, "cross_entropy", {}, "clean", 0, also_on=["fog"])


def test_a_trial_changes_the_recipe_that_is_named(study: None) -> None:
    values = params.read()
    values["recipes"]["other"] = values["recipes"][values["recipe"]] | {"momentum": 0.7}
    Path("params.yaml").write_text(json.dumps(values), encoding="utf-8")
    row = trials.trial({"flip": "off"}, "cross_entropy", {}, "clean", 0, "other")
    assert (row["recipe_name"], row["recipe"]["momentum"], row["recipe"]["flip"]) == ("other", 0.7, "off")
    with pytest.raises(StudyError, match=r"params.yaml: recipes.other.epoch is unknown"):
        trials.trial({"epoch": 2}, "cross_entropy", {}, "clean", 0, "other")
    with pytest.raises(StudyError, match=r"loss_config.normface.scale is -1"):
        trials.trial({}, "normface", {"scale": -1}, "clean", 0)
    with pytest.raises(StudyError, match=r"recipes.gpus"):
        trials.trial({}, "cross_entropy", {}, "clean", 0, "gpus")


def test_settings_of_measurement_are_tried_on_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(measuring, "IMAGES", 6)
    monkeypatch.setattr(measuring, "ATTACKED", 3)
    study_of(tmp_path, [Cell("cross_entropy", "clean", 0), Cell("angular", "clean", 0)])
    Path("data/raw/test.npz").unlink()
    for loss in ("cross_entropy", "angular"):
        monkeypatch.setattr(sys, "argv", ["", "--loss", loss, "--train-set", "clean", "--seed", "0"])
        measuring.main()
    found = json.loads((tmp_path / "measuring.json").read_text(encoding="utf-8"))
    assert list(found) == ["cross_entropy-clean-0", "angular-clean-0"]
    for row in found.values():
        assert all(0 <= accuracy <= 1 for accuracy in row["probe"].values()) and len(row["probe"]) == 4
        assert len(row["stand_in"]) == 5
        for shares in row["stand_in"].values():
            assert set(shares) == {"agrees", "right_at_1", "right_at_2", "right_at_4"}
            assert all(0 <= share <= 1 for share in shares.values())


def test_a_run_that_fails_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"^the run of 'ours' failed; see above for the reason, correct it and run"):
        time_to_accuracy.timed("ours", 0)


def test_two_versions_take_turns_and_the_ratio_is_of_each_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def seconds(name: str, command: list[str], tree: Path) -> float:
        asked.append((name, tree))
        return {tmp_path: 6.0, against.ROOT: 2.0}[tree] * len(asked)

    monkeypatch.setattr(against, "seconds_of", seconds)
    row = against.compared("start", ["x"], tmp_path, 2)
    assert asked == [("start", tmp_path), ("start", against.ROOT)] * 2
    assert row["task"] == "start" and row["ratio"] == {"n": 2, "median": 1.875, "min": 1.5, "max": 2.25}
    assert row["before"]["median"] == 12.0 and row["now"]["max"] == 8.0


def test_a_task_prints_its_seconds_or_counts_as_a_whole_and_a_failed_one_is_told(tmp_path: Path) -> None:
    python = sys.executable
    assert against.seconds_of("step-half", [python, "-c", "print('x'); print(1.5)"], tmp_path) == 1.5
    (tmp_path / "short.py").write_text("", encoding="utf-8")
    assert 0 < against.seconds_of("demo", [python, "-m", "short"], tmp_path) < 30
    with pytest.raises(StudyError, match=r"start failed in .*: no way"):
        against.seconds_of("start", [python, "-c", "import sys; sys.exit('no way')"], tmp_path)
    with pytest.raises(StudyError, match="needs the demo"):
        against.seconds_of("nothing", ["dvc", "repro"], tmp_path)


def test_each_shape_is_measured_in_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = convolutions.layers()
    assert len(set(shapes)) == len(shapes)
    assert {(64, 64, 16, 1), (64, 128, 16, 2), (512, 512, 1, 1)} <= set(shapes)  # of the stems half and imagenet
    monkeypatch.setattr(_convolution, "MOST_PIXELS", _convolution.MOST_PIXELS)  # put it back afterwards
    found = convolutions.measured((4, 8, 6, 2), 2, 1, torch.float32)
    assert list(found) == ["library", "product"] and all(value > 0 for pair in found.values() for value in pair)
