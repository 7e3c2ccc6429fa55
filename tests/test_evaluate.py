"""Metrics of the stage `evaluate`: the classifier, other classifiers on its features, and mirror images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustness_study import losses
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.core.array_text import from_text
from robustness_study.core.files import read_npz, write_npz
from robustness_study.evaluation.angles import class_angles
from robustness_study.evaluation.calibration import (
    HIGHEST,
    LOWEST,
    calibration_error_at,
    expected_calibration_error,
    fit_temperature,
    loss_at,
)
from robustness_study.evaluation.neighbours import knn_predictions
from robustness_study.evaluation.probe import fit_probe
from robustness_study.evaluation.score import evaluate, outputs_of
from robustness_study.losses.head import Head
from robustness_study.schema.evaluate import Evaluate

CONFIGS = params.read(Path(__file__).resolve().parents[1] / "params.yaml")["loss_config"]


class Halves(nn.Module):
    """Features: the brightness of an image's left third and of its middle third."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images[..., :2].mean((1, 2, 3)), images[..., 2:4].mean((1, 2, 3))], 1)


class Plain(Head):
    """Features are the logits."""

    def forward(self, features: Tensor) -> Tensor:
        return features


class Centred(Plain):
    """Embeddings are the features minus middle grey, so that they have all directions."""

    def embeddings(self, features: Tensor) -> Tensor:
        return features - 0.5


def images_of(levels: list[tuple[int, int, int]]) -> np.ndarray:
    """Images of 6×6 pixels. Their thirds, from left to right, have the given grey levels."""
    images = np.zeros((len(levels), 6, 6, 3), np.uint8)
    for image, thirds in zip(images, levels, strict=True):
        for third, level in enumerate(thirds):
            image[:, 2 * third : 2 * third + 2] = level
    return images


def section(**changes: Any) -> Evaluate:
    return Evaluate.model_validate(
        {"batch_size": 2, "knn_neighbours": 1, "probe_inverse_penalty": 0.01, "flip_test_time_augmentation": False}
        | changes
    )


@pytest.fixture
def model() -> Classifier:
    return Classifier(Halves(), Plain(), [0.0] * 3, [1.0] * 3, width=2).eval()


SETS = {
    # Left against middle: 0, 1, 0. With the mirror image, left and right against twice the middle: 1, 1, 0.
    "train_clean": (images_of([(90, 60, 10), (10, 60, 20), (90, 20, 70)]), np.array([1, 1, 0], np.uint8)),
    "test_clean": (images_of([(200, 90, 0), (80, 20, 90)]), np.array([0, 0], np.uint8)),
    "val_clean": (images_of([(200, 90, 0), (20, 80, 90), (90, 70, 0)]), np.array([0, 1, 1], np.uint8)),
}


def test_mirror_images_are_scored_in_addition(model: Classifier) -> None:
    results, _ = evaluate(model, SETS, "train_clean", ["a", "b"], section(flip_test_time_augmentation=True))
    train, test, _ = results["sets"]
    assert (train["accuracy"], train["flip_accuracy"]) == (pytest.approx(2 / 3), 1.0)
    assert (test["accuracy"], test["flip_accuracy"]) == (1.0, 1.0)


def test_without_mirror_images_the_metric_is_null(model: Classifier) -> None:
    results, arrays = evaluate(model, SETS, "train_clean", ["a", "b"], section())
    assert [row["flip_accuracy"] for row in results["sets"]] == [None, None, None]
    other, other_arrays = evaluate(
        model, SETS, "train_clean", ["a", "b"], section(flip_test_time_augmentation=True, batch_size=1)
    )
    assert results["details"] == other["details"]
    assert all(np.array_equal(arrays[name], other_arrays[name]) for name in arrays)


def test_neighbours_are_the_nearest_training_images(model: Classifier) -> None:
    results, _ = evaluate(model, SETS, "train_clean", ["a", "b"], section())
    # Features stand at 34°, 81° and 13° (labels b, b, a): nearest to the tests' 24.2° and 14° are b, wrong, and a.
    assert results["sets"][1]["knn_accuracy"] == 0.5
    assert results["sets"][0]["knn_accuracy"] is None


def some(count: int, seed: int, brighter: int) -> tuple[np.ndarray, np.ndarray]:
    """Images, and labels: `brighter` (0 or 1) where the left third is brighter than the middle, else the other one."""
    levels = np.random.default_rng(seed).integers(0, 256, (count, 3))
    labels = np.where(levels[:, 0] > levels[:, 1], brighter, 1 - brighter).astype(np.uint8)
    return images_of([(left, middle, right) for left, middle, right in levels.tolist()]), labels


# The model's own training images have different labels, so the results show which images were used.
OWN_FIRST = {
    "train_corrupted": some(40, 0, brighter=1),
    "train_clean": some(40, 1, brighter=0),
    "val_clean": some(20, 2, brighter=0),
    "test_clean": some(30, 3, brighter=0),
    "test_corrupted": some(30, 4, brighter=0),
}


def test_probe_is_fitted_on_the_models_own_training_features(model: Classifier) -> None:
    results, _ = evaluate(model, OWN_FIRST, "train_corrupted", ["a", "b"], section())
    features = {name: outputs_of(model, images, 100)[1] for name, (images, _) in OWN_FIRST.items()}
    probe = fit_probe(features["train_corrupted"], OWN_FIRST["train_corrupted"][1], 0.01)
    for row in results["sets"]:
        name, details = row["set"], results["details"][row["set"]]
        if name.startswith("train"):
            assert row["probe_accuracy"] is None and "probe_predictions" not in details
            continue
        predictions = from_text(details["probe_predictions"])
        assert predictions.tolist() == probe(features[name]).tolist()
        assert row["probe_accuracy"] == (predictions == OWN_FIRST[name][1]).mean() < 0.3


def test_probe_is_penalised_as_params_say(model: Classifier) -> None:
    known, labels = outputs_of(model, OWN_FIRST["train_corrupted"][0], 100)[1], OWN_FIRST["train_corrupted"][1]
    queries = outputs_of(model, OWN_FIRST["test_clean"][0], 100)[1]
    found = []
    for penalty in (1e-6, 10.0):
        results, _ = evaluate(model, OWN_FIRST, "train_corrupted", ["a", "b"], section(probe_inverse_penalty=penalty))
        found.append(from_text(results["details"]["test_clean"]["probe_predictions"]).tolist())
        assert found[-1] == fit_probe(known, labels, penalty)(queries).tolist()
    assert found[0] != found[1]


def test_reference_need_not_be_the_first_set(model: Classifier) -> None:
    backwards = dict(reversed(OWN_FIRST.items()))
    (expected, arrays), (found, others) = (
        evaluate(model, sets, "train_corrupted", ["a", "b"], section()) for sets in (OWN_FIRST, backwards)
    )
    assert found["details"] == expected["details"] and found["sets"] == expected["sets"][::-1]
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays) and set(arrays) == set(others)


@pytest.mark.parametrize("loss", losses.names())
def test_probe_and_neighbours_are_the_same_for_every_loss(model: Classifier, loss: str) -> None:
    """They use only the features; only the logits depend on the loss."""
    torch.manual_seed(1)
    head = losses.make(loss, CONFIGS[loss]).make_head(2, 2)
    head.fit(torch.rand(8, 2), torch.arange(8) % 2)
    other = Classifier(Halves(), head, [0.0] * 3, [1.0] * 3, width=2).eval()
    expected, found = (
        evaluate(each, OWN_FIRST, "train_corrupted", ["a", "b"], section(knn_neighbours=3))[0]
        for each in (model, other)
    )
    assert [row["loss"] for row in expected["sets"]] != [row["loss"] for row in found["sets"]]
    for name, angles in expected["angles"].items():
        assert angles["features"] == found["angles"][name]["features"] and angles["embeddings"] is None
        assert (found["angles"][name]["embeddings"] is None) == (head.embeddings(torch.rand(2, 2)) is None)
    for name in ("val_clean", "test_clean", "test_corrupted"):
        for classifier in ("knn", "probe"):
            predictions = (each["details"][name][f"{classifier}_predictions"] for each in (expected, found))
            assert len(set(predictions)) == 1


def test_saved_reference_reproduces_the_neighbours_predictions(model: Classifier, tmp_path: Path) -> None:
    results, arrays = evaluate(model, OWN_FIRST, "train_corrupted", ["a", "b"], section(knn_neighbours=3))
    write_npz(tmp_path / "kept.npz", **arrays)
    names = ("reference_features", "reference_labels", "knn_neighbours")
    features, labels, neighbours = read_npz(tmp_path / "kept.npz", *names)
    assert features.dtype == np.float32 and int(neighbours) == 3
    assert np.array_equal(features, outputs_of(model, OWN_FIRST["train_corrupted"][0], 2)[1])
    assert np.array_equal(labels, OWN_FIRST["train_corrupted"][1])
    for name in ("test_clean", "test_corrupted"):
        again = knn_predictions(features, labels, outputs_of(model, OWN_FIRST[name][0], 2)[1], int(neighbours))
        assert again.tolist() == from_text(results["details"][name]["knn_predictions"]).tolist()


def test_calibration_and_angles_use_the_logits_and_features_of_the_set(model: Classifier) -> None:
    results, arrays = evaluate(model, OWN_FIRST, "train_corrupted", ["a", "b"], section())
    for row in results["sets"]:
        probabilities = torch.from_numpy(arrays[f"{row['set']}_logits"]).softmax(1).numpy()
        assert row["calibration_error"] == expected_calibration_error(probabilities, OWN_FIRST[row["set"]][1])
    assert list(results["angles"]) == ["test_clean", "test_corrupted"]
    for name, found in results["angles"].items():
        images, labels = OWN_FIRST[name]
        assert found == {"features": class_angles(outputs_of(model, images, 100)[1], labels), "embeddings": None}


def test_temperature_is_fitted_on_clean_validation_images(model: Classifier) -> None:
    images, labels = OWN_FIRST["val_clean"]
    third = (np.arange(len(labels)) % 3 == 0).astype(np.uint8)  # wrong here only, so that the temperature is no limit
    sets = OWN_FIRST | {"val_clean": (images, labels ^ third)}
    results, arrays = evaluate(model, sets, "train_corrupted", ["a", "b"], section())
    temperature = fit_temperature(arrays["val_clean_logits"], labels ^ third)
    assert LOWEST < results["temperature"] == temperature < HIGHEST
    assert temperature not in {
        fit_temperature(arrays[f"{name}_logits"], sets[name][1]) for name in {*sets} - {"val_clean"}
    }
    for row in results["sets"]:
        logits, labels = arrays[f"{row['set']}_logits"], sets[row["set"]][1]
        assert row["calibration_error_scaled"] == calibration_error_at(logits, labels, temperature)
        assert row["loss_scaled"] == loss_at(logits, labels, temperature)
        assert row["loss"] == pytest.approx(loss_at(logits, labels, 1.0), rel=1e-6)
    assert next(row["loss_scaled"] < row["loss"] for row in results["sets"] if row["set"] == "val_clean")


def test_angles_of_embeddings_use_the_vectors_that_the_head_compares() -> None:
    model = Classifier(Halves(), Centred(), [0.0] * 3, [1.0] * 3, width=2).eval()
    results, _ = evaluate(model, OWN_FIRST, "train_corrupted", ["a", "b"], section())
    for name, found in results["angles"].items():
        images, labels = OWN_FIRST[name]
        features = outputs_of(model, images, 100)[1]
        assert found["features"] == class_angles(features, labels)
        assert found["embeddings"] == class_angles(features - np.float32(0.5), labels)
        between = "between_class_degrees"
        assert found["features"][between] < 90 < found["embeddings"][between]  # features are not negative


def test_rows_of_every_set_have_the_same_keys(model: Classifier) -> None:
    """Otherwise `dvc plots` would find no table."""
    results, _ = evaluate(model, OWN_FIRST, "train_corrupted", ["a", "b"], section())
    assert len({tuple(row) for row in results["sets"]}) == 1
