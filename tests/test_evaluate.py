"""Evaluation's figures: of the classifier, of its neighbours, and of an image together with its mirror image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.evaluate import evaluate
from stages.lib.model import Classifier, Head
from stages.lib.schema.evaluate import Evaluate


class Halves(nn.Module):
    """Features: how bright the left third of an image is, and its middle."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([images[..., :2].mean((1, 2, 3)), images[..., 2:4].mean((1, 2, 3))], 1)


class Plain(Head):
    """Features are the logits."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def images_of(levels: list[tuple[int, int, int]]) -> np.ndarray:
    """Images 6×6 whose thirds, from left to right, have those grey levels."""
    images = np.zeros((len(levels), 6, 6, 3), np.uint8)
    for image, thirds in zip(images, levels, strict=True):
        for third, level in enumerate(thirds):
            image[:, 2 * third : 2 * third + 2] = level
    return images


def section(**changes: Any) -> Evaluate:
    return Evaluate.model_validate(
        {"batch_size": 2, "knn_neighbours": 1, "flip_test_time_augmentation": False} | changes
    )


@pytest.fixture
def model() -> Classifier:
    return Classifier(Halves(), Plain(), [0.0] * 3, [1.0] * 3).eval()


SETS = {
    # Left against middle: 0, 1, 0. With the mirror image, left and right against twice the middle: 1, 1, 0.
    "train_clean": (images_of([(90, 60, 10), (10, 60, 20), (90, 20, 70)]), np.array([1, 1, 0], np.uint8)),
    "test_clean": (images_of([(200, 90, 0), (80, 20, 90)]), np.array([0, 0], np.uint8)),
}


def test_mirror_images_are_scored_beside(model: Classifier) -> None:
    results, _ = evaluate(model, SETS, "train_clean", ["a", "b"], section(flip_test_time_augmentation=True))
    train, test = results["sets"]
    assert (train["accuracy"], train["flip_accuracy"]) == (pytest.approx(2 / 3), 1.0)
    assert (test["accuracy"], test["flip_accuracy"]) == (1.0, 1.0)


def test_without_mirror_images_the_figure_is_null(model: Classifier) -> None:
    results, arrays = evaluate(model, SETS, "train_clean", ["a", "b"], section())
    assert [row["flip_accuracy"] for row in results["sets"]] == [None, None]
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
