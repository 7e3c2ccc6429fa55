"""The suite: test images under corruptions, scores of models on them, and which corruptions training has seen."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from attacked import ALL_IMAGES
from made_cells import OF_NO_STRESS
from natural_images import natural_images

from robustness_study import corruptions, losses
from robustness_study.classifier import device, storage
from robustness_study.classifier.inference import to_float
from robustness_study.core import params
from robustness_study.core.array_text import from_text
from robustness_study.core.cell import TEMPERATURE, WEIGHTS_DIGEST, Cell
from robustness_study.core.errors import StudyError
from robustness_study.core.files import read_npz, write_record
from robustness_study.corruptions import corrupt, studies
from robustness_study.evaluation.calibration import expected_calibration_error
from robustness_study.networks import Network
from robustness_study.report import suite_section, suite_tables
from robustness_study.results.corruption_errors import corruption_error, corruption_errors
from robustness_study.results.metric import Metric
from robustness_study.results.seen_corruptions import seen, similar_to_dataset
from robustness_study.results.suite import Stress
from robustness_study.schema.corrupt import Corrupt
from robustness_study.schema.recipe import Recipe
from stages import stress, suite

COMMITTED = params.read(Path(__file__).resolve().parents[1] / "params.yaml")
MIX = COMMITTED["corrupt"]["mix"]
RECIPE = COMMITTED["recipes"]["cpu"]
CELL = Cell("cross_entropy", "clean", 0)
CORRUPTIONS = ["gaussian_noise", "pixelate"]
SECTION = {"corruptions": CORRUPTIONS, "images": 9, "seed": 4}


# --- what training has seen --------------------------------------------------------------------------------


def seen_with(
    mix: dict[str, Any] = MIX, train_sets: tuple[str, ...] = (), before: str | None = None, **changes: Any
) -> list[str]:
    named = [{"corruption": before, "severity": 1, "probability": 1.0}] if before else []
    section = Corrupt.model_validate({"seed": 0, "before": named, "mix": mix})
    return seen(section, Recipe.model_validate(RECIPE | {"flip": "off"} | changes), train_sets)


def test_committed_mix_has_seen_noise_colours_and_rotation() -> None:
    assert seen_with() == [
        "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "brightness", "contrast",
        "elastic_transform", "saturate", "color_jitter", "horizontal_flip", "rotation", "mix", "mix_without_flip",
    ]  # fmt: skip


def without(*keys: str) -> dict[str, Any]:
    mix: dict[str, Any] = json.loads(json.dumps(MIX))
    for key in keys:
        section, name = key.split(".")
        mix[section][name] = 0.0
    return mix


def test_corruptions_without_a_counterpart_in_the_mix_are_unseen() -> None:
    assert "gaussian_noise" not in seen_with(without("gaussian_noise.sigma"))
    assert "contrast" not in seen_with(without("color_jitter.contrast"))
    assert not {"elastic_transform", "rotation"} & set(seen_with(without("rotation.max_degrees")))
    nothing = without(
        "gaussian_noise.sigma", "rotation.max_degrees", "horizontal_flip.probability",
        *(f"color_jitter.{name}" for name in MIX["color_jitter"]),
    )  # fmt: skip
    assert seen_with(nothing) == []
    assert seen_with(nothing, flip="random") == ["horizontal_flip", "mix"]
    assert {"pixelate", "zoom_blur"} <= set(seen_with(nothing, low_resolution_share=0.5))
    hue = nothing | {"color_jitter": nothing["color_jitter"] | {"hue": 0.1}}
    assert seen_with(hue) == ["color_jitter", "mix", "mix_without_flip"]
    assert {"brightness", "contrast", "saturate", "gaussian_blur"} <= set(seen_with(nothing, trivial_augment=True))
    assert {"snow", "frost", "fog", "brightness", "spatter"} == set(seen_with(nothing, before="fog"))
    assert {"pixelate", "jpeg_compression", "zoom_blur", "defocus_blur"} <= set(seen_with(nothing, before="pixelate"))
    of_mix = {"gaussian_noise", "brightness", "contrast", "saturate", "elastic_transform", "mix", "mix_without_flip"}
    assert of_mix <= set(seen_with(nothing, before="mix"))
    of_augmix = {"brightness", "contrast", "rotation", "elastic_transform"}
    assert of_augmix <= set(seen_with(nothing, ("clean", "augmix")))
    assert not of_augmix & set(seen_with(nothing, ("clean", "corrupted")))
    assert {"gaussian_noise", "speckle_noise"} <= set(seen_with(nothing, ("clean", "adversarial")))


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "unlike training: the training images were not JPEG files."),
        (0.125, "similar to training, because 12.5 % of the training images were JPEG files."),
        (1.0, "similar to training, because 100 % of the training images were JPEG files."),
        (
            None,
            "similar to training, because it is not known whether the images of this dataset were JPEG files before.",
        ),
    ],
)
def test_jpeg_compression_is_unlike_training_only_if_no_training_image_was_a_jpeg_file(
    share: float | None, text: str
) -> None:
    dataset = {"jpeg_share": share}
    similar = similar_to_dataset(dataset)
    assert similar == ([] if share == 0 else ["jpeg_compression"])
    suite_of = {"jpeg_compression": [0.5] * 5, "fog": [0.5] * 5}
    found = jpeg_text_of(stress_of(0.9, similar, **suite_of), dataset)
    assert found == [f"`jpeg_compression` counts as {text}"]


def test_report_says_if_jpeg_compression_is_in_training_or_not_in_the_suite() -> None:
    dataset = {"jpeg_share": 0.0}
    seen_in_training = stress_of(0.9, ["jpeg_compression"], jpeg_compression=[0.5] * 5)
    assert "because of what training does to images; the training" in jpeg_text_of(seen_in_training, dataset)[0]
    assert jpeg_text_of(stress_of(0.9, fog=[0.5] * 5), dataset) == []


def jpeg_text_of(of_model: Stress, dataset: dict[str, Any]) -> list[str]:
    first: Any = SimpleNamespace(stress=of_model, evaluate={"dataset": dataset})
    study: Any = SimpleNamespace(first=first)
    return suite_section.jpeg_text(study)


# --- scores ------------------------------------------------------------------------------------------------


def stress_of(clean: float, similar: Sequence[str] = ("fog",), **accuracies: list[float]) -> Stress:
    rows = [{"corruption": "clean", "severity": 0, "accuracy": clean}]
    for name, values in accuracies.items():
        rows += [{"corruption": name, "severity": s, "accuracy": value} for s, value in enumerate(values, start=1)]
    return Stress({**OF_NO_STRESS, "temperature": 1.0, "images": 100, "rows": rows, "predictions": {}}, similar)


def test_corruption_errors_are_relative_to_the_reference() -> None:
    model = stress_of(0.9, fog=[0.8, 0.7, 0.6, 0.5, 0.4], snow=[0.85] * 5)
    reference = stress_of(0.8, fog=[0.7, 0.6, 0.5, 0.4, 0.3], snow=[0.7] * 5)
    assert corruption_error(model, reference, ["fog"]) == pytest.approx(2.0 / 2.5)
    assert corruption_error(model, reference, ["fog", "snow"]) == pytest.approx((2.0 / 2.5 + 0.75 / 1.5) / 2)
    assert corruption_error(model, reference, ["fog"], relative=True) == pytest.approx((2.0 - 0.5) / (2.5 - 1.0))
    assert corruption_error(reference, reference, ["fog", "snow"], relative=True) == pytest.approx(1)
    assert corruption_error(model, reference, ["frost"]) is None
    assert corruption_error(model, stress_of(0.8, fog=[0.8] * 5), ["fog"], relative=True) is None


def test_groups_are_the_benchmark_groups_in_the_suite() -> None:
    groups = stress_of(0.9, fog=[0.5] * 5, snow=[0.4] * 5, saturate=[0.3] * 5, mix_without_flip=[0.2] * 5).groups()
    assert groups["main"] == ["snow", "fog"] and groups["held out"] == ["saturate"]
    assert groups["weather"] == ["snow", "fog"] and groups["digital"] == ["saturate"] and groups["noise"] == []
    assert groups["seen"] == ["fog"] and groups["unseen"] == ["snow"]


def test_corruption_outside_the_benchmark_has_a_row_of_its_own_in_the_table() -> None:
    cells = {
        ("angular", "clean"): [
            SimpleNamespace(stress=stress_of(0.9, fog=[0.5] * 5, rotation=[0.4] * 5, shade=[0.3] * 5))
        ]
    }
    asked: list[str] = []

    def summarise(results: Any, metric: Metric) -> dict[str, Any]:
        asked.append(metric.name)
        return {"mean": 0.5}

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(suite_tables, "summarise", summarise)
        errors = corruption_errors(cells)  # type: ignore[arg-type]
        table = suite_tables.means_table(cells, errors)  # type: ignore[arg-type]
    groups = ["clean", "main", "held out", "noise", "blur", "weather", "digital", "seen", "unseen"]
    assert list(table.index)[: len(groups) + 3] == [*groups, "rotation", "shade", "mCE"]
    assert {"suite_of_rotation", "suite_of_shade"} < set(asked)


# --- the stages --------------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray]:
    """Twelve test images with labels, a model, and both corruptions of the suite."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(device.VARIABLE, "cpu")
    images, labels = natural_images(12, 16), (np.arange(12) % 3).astype(np.uint8)
    (tmp_path / "data/raw").mkdir(parents=True)
    np.savez(tmp_path / "data/raw/test.npz", images=images, labels=labels)
    (tmp_path / "params.yaml").write_text(json.dumps({"suite": SECTION} | ALL_IMAGES))
    torch.manual_seed(0)
    loss = losses.make("cross_entropy", {"label_smoothing": 0.0})
    network = Network("resnet18", "imagenet", 16)
    model = storage.build(network, loss, 3, [0.5] * 3, [0.25] * 3)
    with torch.no_grad():
        model.train().features(to_float(torch.from_numpy(images)))
    storage.save(
        CELL.model, model, network, loss, ["a", "b", "c"], {"recipe": "cpu", "environment": {"precision": "float32"}}
    )
    _, notes = storage.load(CELL.model, torch.device("cpu"))
    write_record(CELL.result(TEMPERATURE), {WEIGHTS_DIGEST: notes[WEIGHTS_DIGEST], "temperature": 2.5})
    suite.main()
    monkeypatch.setattr(sys, "argv", ["stress", "--loss", CELL.loss, "--train-set", CELL.train_set, "--seed", "0"])
    return images, labels


def test_suite_is_a_stratified_subset_at_each_severity(study: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = study
    with np.load("data/suite/gaussian_noise.npz") as one, np.load("data/suite/pixelate.npz") as other:
        indices, copies = one["indices"], one["images"]
        assert np.array_equal(indices, other["indices"])
    assert np.bincount(labels[indices]).tolist() == [3, 3, 3]
    assert copies.shape == (5, 9, 16, 16, 3) and copies.dtype == np.uint8
    # Images of a subset are corrupted in the same way as within the whole set.
    for severity in range(1, 6):
        whole = corrupt(images, "gaussian_noise", severity, seed=4, split="test")
        assert np.array_equal(copies[severity - 1], whole[indices])


def test_suite_is_reproducible_and_depends_on_the_seed(
    study: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path("data/suite/gaussian_noise.npz")
    before = path.read_bytes()
    suite.main()
    assert path.read_bytes() == before
    images, _ = study
    with np.load(path) as made:
        changes = [np.abs(copies.astype(int) - images[made["indices"]]).mean() for copies in made["images"]]
    assert changes == sorted(changes)
    assert (
        f"mean absolute change {' '.join(f'{change:.1f}' for change in changes)} (of 255)\n" in capsys.readouterr().out
    )
    Path("params.yaml").write_text(json.dumps({"suite": SECTION | {"seed": 5}} | ALL_IMAGES))
    suite.main()
    assert path.read_bytes() != before


def test_stress_scores_each_corruption_and_severity(study: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = study
    stress.main()
    found = json.loads(CELL.result("stress.json").read_text())
    chosen = from_text(found["test_indices"])
    expected_keys = [("clean", 0), *((name, s) for name in CORRUPTIONS for s in range(1, 6))]
    assert [(row["corruption"], row["severity"]) for row in found["rows"]] == expected_keys
    model, _ = storage.load(CELL.model, torch.device("cpu"))
    for row in found["rows"]:
        copies = images[chosen]
        if row["severity"]:
            with np.load(f"data/suite/{row['corruption']}.npz") as archive:
                copies = archive["images"][row["severity"] - 1]
        with torch.no_grad():
            logits = model(to_float(torch.from_numpy(copies))).double()
        predictions = logits.argmax(1).numpy()
        for key, divisor in (("calibration_error", 1.0), ("calibration_error_scaled", 2.5)):
            probabilities = (logits / divisor).softmax(1).numpy()
            assert row[key] == pytest.approx(expected_calibration_error(probabilities, labels[chosen]), abs=1e-5)
        assert row["accuracy"] == pytest.approx((predictions == labels[chosen]).mean())
        (kept_confidences,) = read_npz(CELL.stressed, row["corruption"])
        confidences = kept_confidences[max(row["severity"] - 1, 0)]
        np.testing.assert_allclose(confidences, logits.softmax(1).amax(1), atol=6e-4)
        kept = found["predictions"][row["corruption"]][max(row["severity"] - 1, 0)]
        assert np.array_equal(from_text(kept), predictions)
    assert (found["images"], found["temperature"]) == (9, 2.5)
    assert any(row["calibration_error"] != row["calibration_error_scaled"] for row in found["rows"])


def test_temperature_of_another_model_is_refused(study: tuple[np.ndarray, np.ndarray]) -> None:
    write_record(CELL.result(TEMPERATURE), {WEIGHTS_DIGEST: "of another", "temperature": 2.5})
    with pytest.raises(StudyError, match=r"temperature\.json was made from other weights .* `dvc repro -f evaluate@"):
        stress.main()
    assert not CELL.result("stress.json").exists()


def test_calibration_under_a_family_is_the_mean_over_corruptions_and_severities() -> None:
    model = stress_of(0.9, fog=[0.8] * 5, snow=[0.7] * 5, pixelate=[0.6] * 5)
    for row in model.rows:  # 0 for clean images
        row["calibration_error"] = row["severity"] / 10 + (row["corruption"] == "snow") / 2
        row["calibration_error_scaled"] = row["calibration_error"] / 5
    weather, digital, blur = (corruptions.CIFAR_10_C_FAMILIES[name] for name in ("weather", "digital", "blur"))
    assert model.calibration_error(weather, "calibration_error") == pytest.approx(0.3 + 0.25)
    assert model.calibration_error(weather, "calibration_error_scaled") == pytest.approx(0.11)
    assert model.calibration_error(digital, "calibration_error") == pytest.approx(0.3)
    assert model.calibration_error(blur, "calibration_error") is None


def test_parts_of_different_images_are_refused(study: tuple[np.ndarray, np.ndarray]) -> None:
    with np.load("data/suite/pixelate.npz") as archive:
        arrays = dict(archive)
    np.savez("data/suite/pixelate.npz", images=arrays["images"], indices=arrays["indices"] + 1)
    with pytest.raises(StudyError, match=r"data/suite/pixelate.npz is of other test images .* `dvc repro -f suite`"):
        stress.main()
    assert not CELL.result("stress.json").exists()


def test_suite_draws_a_contact_sheet(study: tuple[np.ndarray, np.ndarray]) -> None:
    assert Path("reports/examples/corruptions.png").stat().st_size > 1000


def test_committed_mix_equals_the_studies_corruptions_at_severity_five() -> None:
    assert MIX == {
        "color_jitter": {
            "brightness": studies.BRIGHTNESS,
            "contrast": studies.CONTRAST,
            "saturation": studies.SATURATION,
            "hue": studies.HUE,
        },
        "rotation": {"max_degrees": studies.MAX_DEGREES},
        "horizontal_flip": {"probability": studies.FLIP_PROBABILITY},
        "gaussian_noise": {"sigma": studies.SIGMA},
    }
    assert studies.SHARES[-1] == 1
