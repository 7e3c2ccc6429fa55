"""The nearest neighbours' stand-in, and the battery: every attack is what it says, in batches of any size."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from attacked import CLASSES, COUNT, battery_of, by_loop, some_images, some_labels, tiny_model
from torch import Tensor

from stages import attack as stage
from stages.lib.attacks import stand_in
from stages.lib.attacks.battery import ByEpsilon, predict
from stages.lib.attacks.signs import gradient_signs, random_signs, step
from stages.lib.attacks.stand_in import SoftNeighbours
from stages.lib.inference import to_float
from stages.lib.model import FEATURES, Classifier
from stages.lib.neighbours import knn_predictions

# --- the nearest neighbours' stand-in ----------------------------------------------------------------------

RNG = np.random.default_rng(3)
KNOWN = torch.from_numpy(RNG.normal(size=(40, FEATURES)).astype(np.float32))
KNOWN_LABELS = torch.from_numpy(RNG.integers(0, CLASSES, 40))


def near_images(model: Classifier) -> Tensor:
    """Known features that lie about those of `some_images`, so that similarities differ."""
    features = model.features(to_float(some_images()))
    return features[torch.arange(40) % COUNT] + features.std() * KNOWN


def test_soft_neighbours_are_their_equation_written_out() -> None:
    model, images = tiny_model(), to_float(some_images())
    known = near_images(model)
    found = SoftNeighbours(model, known, KNOWN_LABELS, CLASSES)(images)
    for features, logits in zip(model.features(images).tolist(), found.tolist(), strict=True):
        summed = [0.0] * CLASSES
        for other, label in zip(known.tolist(), KNOWN_LABELS.tolist(), strict=True):
            product = sum(a * b for a, b in zip(features, other, strict=True))
            lengths = math.hypot(*features) * math.hypot(*other)
            summed[label] += math.exp(product / lengths / 0.02)
        assert logits == pytest.approx([math.log(each) for each in summed], abs=1e-3)


def test_soft_neighbours_at_a_low_temperature_are_the_nearest_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = tiny_model(), to_float(some_images())
    known = near_images(model)
    nearest = knn_predictions(known.numpy(), KNOWN_LABELS.numpy(), model.features(images).numpy(), 1)
    monkeypatch.setattr(stand_in, "TEMPERATURE", 1e-4)
    found = SoftNeighbours(model, known, KNOWN_LABELS, CLASSES)(images).argmax(1)
    assert found.tolist() == nearest.tolist() and len(set(nearest)) > 1


def test_class_that_no_known_image_has_is_never_predicted() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    few = SoftNeighbours(model, near_images(model), KNOWN_LABELS.clamp(max=1), CLASSES)
    assert (few(images)[:, 2] == -torch.inf).all() and few(images)[:, :2].isfinite().all()
    assert gradient_signs(few, images, labels).abs().flatten(1).any(1).all()


@pytest.mark.parametrize("batch_size", [1, 5, 100])
def test_neighbours_are_scored_on_what_their_stand_in_was_attacked_with(batch_size: int) -> None:
    model, positions = tiny_model(), np.array([1, 4, 5, 8, 13])
    tried = battery_of(model, batch_size=batch_size)
    target = tried.target.of(positions)
    known = near_images(model)
    found, agreement = stage.attack_neighbours(model, tried, positions, (known.numpy(), KNOWN_LABELS.numpy()), 3)
    soft = SoftNeighbours(model, known, KNOWN_LABELS, CLASSES)
    for epsilon, predictions in found.items():
        attacked = torch.from_numpy(by_loop(soft, target.images, target.labels, epsilon / 255)).float()
        expected = knn_predictions(known.numpy(), KNOWN_LABELS.numpy(), model.features(attacked).numpy(), 3)
        np.testing.assert_array_equal(predictions, expected)
    assert agreement == (predict(soft, target.images, 4) == found[0]).mean()


# --- the battery -------------------------------------------------------------------------------------------


def everything(batch_size: int) -> dict[str, ByEpsilon]:
    """Every attack's predictions."""
    tried = battery_of(tiny_model(), batch_size=batch_size)
    _, exact, rounded = tried.fast_gradient_sign(chance=1.0)
    control, of_pgd = tried.chosen(8, "control"), tried.chosen(10, "pgd")
    pgd, of_square = tried.pgd(exact, of_pgd), tried.chosen(6, "square", of_pgd)
    known = (near_images(tiny_model()).numpy(), KNOWN_LABELS.numpy())
    return {
        "fgsm": exact,
        "rounded": rounded,
        "noise": tried.noise(exact),
        **tried.rescaled(exact, control),
        "pgd": pgd,
        "square": tried.square(pgd, of_pgd, of_square),
        "knn": stage.attack_neighbours(tiny_model(), tried, control, known, 3)[0],
    }


@pytest.mark.parametrize("batch_size", [1, 3, 14, 100])
def test_no_attack_depends_on_the_batch_size(batch_size: int) -> None:
    one, other = everything(5), everything(batch_size)
    assert list(one) == ["fgsm", "rounded", "noise", "0.1", "10", "pgd", "square", "knn"]
    for name, found in one.items():
        assert list(found) == list(other[name])
        for epsilon_255, predictions in found.items():
            np.testing.assert_array_equal(predictions, other[name][epsilon_255], err_msg=name)


def test_noise_and_rescaled_logits_are_what_they_say() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    tried, positions = battery_of(model), np.array([0, 3, 4, 9])
    _, exact, _ = tried.fast_gradient_sign(chance=1.0)
    noise, rescaled = tried.noise(exact), tried.rescaled(exact, positions)
    signs = random_signs(tried.target.indices, images.shape[1:], 0)
    for epsilon in (1, 2, 4, 8, 16):
        np.testing.assert_array_equal(noise[epsilon], model(step(images, signs, epsilon)).argmax(1).numpy())
        for factor in (0.1, 10.0):
            by = lambda given, factor=factor: factor * model(given)  # noqa: E731
            attacked = torch.from_numpy(by_loop(by, images[positions], labels[positions], epsilon / 255)).float()
            np.testing.assert_array_equal(rescaled[f"{factor:g}"][epsilon], model(attacked).argmax(1).numpy())


def test_chosen_images_are_stratified_and_among_those_given() -> None:
    tried = battery_of(tiny_model())
    among = tried.chosen(9, "pgd")
    inside = tried.chosen(4, "square", among)
    assert len(among) == 9 and len(inside) == 4 and set(inside) <= set(among)
    assert tried.chosen(100, "pgd").tolist() == list(range(COUNT))
    assert {int(some_labels()[position]) for position in inside} == set(range(CLASSES))
