"""The stand-in for nearest neighbours, and all attacks on one model, in batches of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attacked import (
    CLASSES,
    COUNT,
    SECTION,
    WIDTH,
    ModelUnderTest,
    alarm_names,
    fgsm_by_loop,
    some_images,
    some_labels,
    subject_of,
    tiny_model,
)
from torch import Tensor

from robustness_study.attacks import one_model
from robustness_study.attacks.catalogue import ALARMS
from robustness_study.attacks.nearest_neighbours import SoftNeighbours
from robustness_study.attacks.random_signs import random_signs
from robustness_study.attacks.scoring import predict
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import Gradient, Neighbours
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier
from robustness_study.evaluation.neighbours import knn_predictions

# --- the nearest neighbours' stand-in ----------------------------------------------------------------------

RNG = np.random.default_rng(3)
KNOWN = torch.from_numpy(RNG.normal(size=(40, WIDTH)).astype(np.float32))
KNOWN_LABELS = torch.from_numpy(RNG.integers(0, CLASSES, 40))


def near_images(model: Classifier) -> Tensor:
    """Known features near those of `some_images`, so that similarities differ."""
    features = model.features(to_float(some_images()))
    return features[torch.arange(40) % COUNT] + features.std() * KNOWN


def test_soft_neighbours_equal_their_equation() -> None:
    model, images = tiny_model(), to_float(some_images())
    known = near_images(model)
    found = SoftNeighbours(model, known, KNOWN_LABELS, 0.1)(images)
    for features, logits in zip(model.features(images).tolist(), found.tolist(), strict=True):
        summed = [0.0] * CLASSES
        for other, label in zip(known.tolist(), KNOWN_LABELS.tolist(), strict=True):
            product = sum(a * b for a, b in zip(features, other, strict=True))
            lengths = math.hypot(*features) * math.hypot(*other)
            summed[label] += math.exp(product / lengths / 0.1)
        assert logits == pytest.approx([math.log(each) for each in summed], abs=1e-3)


def test_soft_neighbours_at_a_low_temperature_are_the_nearest_neighbour() -> None:
    model, images = tiny_model(), to_float(some_images())
    known = near_images(model)
    nearest = knn_predictions(known.numpy(), KNOWN_LABELS.numpy(), model.features(images).numpy(), 1)
    found = SoftNeighbours(model, known, KNOWN_LABELS, 1e-4)(images).argmax(1)
    assert found.tolist() == nearest.tolist() and len(set(nearest)) > 1


def test_soft_neighbours_at_a_high_temperature_are_the_class_with_the_most_images() -> None:
    model, images = tiny_model(), to_float(some_images())
    found = SoftNeighbours(model, near_images(model), KNOWN_LABELS, 1e4)(images).argmax(1)
    assert found.tolist() == [KNOWN_LABELS.bincount().argmax()] * COUNT


@pytest.mark.parametrize("temperature", [0.02, 0.5])
@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_neighbours_are_scored_on_images_attacked_through_their_stand_in(batch_size: int, temperature: float) -> None:
    model, positions = tiny_model(), np.array([1, 4, 5, 8, 13])
    known = near_images(model)
    real = Neighbours(model, known.numpy(), KNOWN_LABELS.numpy().astype(np.uint8), 3)
    settings = {"temperature": temperature}
    subject = subject_of(model, neighbours=real, batch_size=batch_size, nearest_neighbours=settings)
    target = subject.target.of(positions)
    subject.gradient = Gradient(torch.zeros(subject.target.images.shape, dtype=torch.int8), subject.clean)
    subject.control = positions
    found = subject.run("nearest_neighbours")["knn_fgsm"]
    soft = SoftNeighbours(model, known, KNOWN_LABELS, temperature)
    assert list(found.predictions) == SECTION["epsilons_255"] and found.positions.tolist() == positions.tolist()
    for epsilon, predictions in found.predictions.items():
        attacked = torch.from_numpy(fgsm_by_loop(soft, target.images, target.labels, epsilon / 255)).float()
        expected = knn_predictions(known.numpy(), KNOWN_LABELS.numpy(), model.features(attacked).numpy(), 3)
        np.testing.assert_array_equal(predictions, expected)
    agreement = (predict(soft, target.images, 4) == found.predictions[0]).mean()
    assert (found.settings, found.measured) == ({"neighbours": 3}, {"stand_in_agrees": agreement})


# --- all attacks on one model ------------------------------------------------------------------------------

NAMES = ["fgsm", "fgsm_8_bit", "noise", "pgd", "pgd_8_bit", "apgd_ce", "apgd", "apgd_ce_second_start", "apgd_longer"]
RESCALED = ["fgsm_of_logits_x0.1", "fgsm_of_logits_x10", "apgd_ce_of_logits_x0.1", "apgd_ce_of_logits_x10"]


def everything(batch_size: int) -> ModelUnderTest:
    """A model on which every attack was run, as the stage runs them."""
    model = tiny_model()
    real = Neighbours(model, near_images(model).numpy(), KNOWN_LABELS.numpy(), 3)
    subject = subject_of(model, neighbours=real, batch_size=batch_size)
    one_model.attack(subject, subject.blocks, ALARMS)
    return subject


@pytest.mark.parametrize("batch_size", [1, 3, 14, 100])
def test_no_attack_depends_on_the_batch_size(batch_size: int) -> None:
    one, other = everything(5).found, everything(batch_size).found
    assert list(one) == list(other)
    assert {*NAMES, *RESCALED, "square", "knn_fgsm", "worst_case"} <= {*one}  # and attacks from other files
    for name, found in one.items():
        np.testing.assert_array_equal(found.positions, other[name].positions)
        assert (found.settings, found.measured) == (other[name].settings, other[name].measured)
        assert list(found.predictions) == list(other[name].predictions)
        for epsilon_255, predictions in found.predictions.items():
            np.testing.assert_array_equal(predictions, other[name].predictions[epsilon_255], err_msg=name)


def test_noise_and_rescaled_logits_equal_their_definitions() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    subject, positions = subject_of(model), np.array([0, 3, 4, 9])
    subject.control = positions
    noise, rescaled = subject.run("random_signs")["noise"], subject.run("rescaled_logits")
    assert noise.positions.tolist() == positions.tolist() and list(noise.predictions) == [1, 2, 4, 8, 16]
    signs = random_signs(subject.target.indices[positions], images.shape[1:], 0)
    for epsilon, predictions in noise.predictions.items():
        np.testing.assert_array_equal(predictions, model(step(images[positions], signs, epsilon)).argmax(1).numpy())
    for epsilon in (1, 2, 4, 8, 16):
        for factor in (0.1, 10.0):
            by = lambda given, factor=factor: factor * model(given)  # noqa: E731
            attacked = torch.from_numpy(fgsm_by_loop(by, images[positions], labels[positions], epsilon / 255)).float()
            found = rescaled[f"fgsm_of_logits_x{factor:g}"]
            assert found.positions.tolist() == positions.tolist()
            np.testing.assert_array_equal(found.predictions[epsilon], model(attacked).argmax(1).numpy())
            assert list(found.predictions) == [1, 2, 4, 8, 16]


def test_images_between_grey_levels_are_scored_again_after_rounding() -> None:
    """If bytes move by whole grey levels, rounding changes only the last digits: no image is predicted twice.

    Images that do not move are not predicted again either: the pass for the gradient has predicted them.
    """
    asked = []

    def logits(given: Tensor) -> Tensor:
        asked.append(given.detach())
        between = (given * 255 - torch.round(given * 255)).abs().amax((1, 2, 3)) > 0.1
        return torch.stack([between.float(), (~between).float()], 1) + 0 * given.sum((1, 2, 3))[:, None]

    labels = torch.zeros(COUNT, dtype=torch.int64)
    whole = torch.full((COUNT, 3, 8, 8), 100 / 255)
    for images, said, times in ((whole, 1, 1), (whole + 0.5 / 255, 0, 2)):
        subject = subject_of(logits, images, labels, batch_size=COUNT)
        asked.clear()
        exact, rounded = subject.fgsm()
        ladder = SECTION["epsilons_255"]
        assert len(asked) == times * len(ladder) + 2  # two for the logits of the control images, computed twice
        for epsilon in ladder:
            assert set(exact.predictions[epsilon]) == {said} and set(rounded.predictions[epsilon]) == {1}


@pytest.mark.parametrize(("other", "raised"), [(0, set()), (1, {"not_clean_at_zero"})])
def test_epsilon_0_is_compared_with_the_predictions_of_evaluate(other: int, raised: set[str]) -> None:
    model = tiny_model()
    clean = predict(model, to_float(some_images()), 3)
    clean[4] = (clean[4] + other) % CLASSES
    subject = subject_of(model, clean=clean)
    subject.fgsm()
    assert {alarm.name for alarm in subject.alarms if "zero" in alarm.name} == raised
    assert not raised or f"1 of {COUNT} predictions" in subject.alarms[0].reason


def misleading_gradient(images: Tensor) -> Tensor:
    """Logits of two classes, light and dark images, with a gradient that leads away from mistakes."""
    margin = 50 * (images - 0.5).mean((1, 2, 3))
    margin = 2 * margin.detach() - margin
    return torch.stack([margin, -margin], 1)


@pytest.mark.parametrize(("dark", "raised"), [(60, {"rises_with_epsilon"}), (36, set()), (24, set())])
def test_chance_is_the_share_of_the_most_frequent_class_among_attacked_images(dark: int, raised: set[str]) -> None:
    """75 % of 120 images are correct at first and all after the attack. The parameter is the number of dark images."""
    labels = (torch.arange(120) < dark).long()
    right = torch.arange(120) % 4 < 3
    levels = 0.5 + torch.where(right == (labels == 0), 3.0, -3.0) / 255
    images = levels[:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    subject = subject_of(misleading_gradient, images, labels, batch_size=50)
    exact, _ = subject.fgsm()
    assert (exact.predictions[0] == subject.labels).mean() == 0.75
    assert (exact.predictions[4] == subject.labels).all()
    assert alarm_names(subject) == raised


def test_chosen_images_are_stratified_and_nested() -> None:
    subject = subject_of(tiny_model())
    more, few = subject.chosen(9), subject.chosen(4)
    assert len(more) == 9 and len(few) == 4 and set(few) <= set(more)
    assert subject.control.tolist() == subject.chosen(8).tolist()
    assert subject.chosen(100).tolist() == list(range(COUNT))
    assert {int(some_labels()[position]) for position in few} == set(range(CLASSES))
