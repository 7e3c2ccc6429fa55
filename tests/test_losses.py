"""The losses: one contract for all, and each against a slow loop over its equations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robustness_study import losses
from robustness_study.core import params
from robustness_study.losses.head import Head

CONFIGS = params.read(Path(__file__).resolve().parents[1] / "params.yaml")["loss_config"]
CLASSES = 4
LABELS = {
    "several of most classes": [0, 1, 2, 0, 1, 2, 0, 3],
    "one class": [1, 1, 1, 1],
    "one image": [2],
    "one image of each class": [0, 1, 2, 3],
    "two images": [3, 3],
}


def rows(count: int, width: int = 512, seed: int = 0) -> Tensor:
    """Features of different lengths and without negative values, as from a ReLU network."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, width, generator=generator) * (1 + torch.arange(count))[:, None]


def make_head(name: str, width: int = 512, **changes: float) -> Head:
    torch.manual_seed(3)
    return losses.make(name, CONFIGS[name] | changes).make_head(width, CLASSES)


def fitted_head(name: str, width: int = 512, **changes: float) -> Head:
    """A head fitted to features of every class, as every trained head is."""
    head = make_head(name, width, **changes)
    head.fit(rows(12, width, seed=1), torch.arange(12) % CLASSES)
    return head


# --- every loss --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", losses.names())
@pytest.mark.parametrize("labels", LABELS.values(), ids=list(LABELS))
def test_contract_of_a_head(name: str, labels: list[int]) -> None:
    head = fitted_head(name)
    features = rows(len(labels)).requires_grad_(True)
    logits = head(features)
    assert logits.shape == (len(labels), CLASSES) and logits.dtype == torch.float32
    loss = head.training_loss(features, torch.tensor(labels))
    assert loss.shape == () and loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss, features)  # raises an error if the loss does not depend on its features
    assert all(tensor.isfinite().all() for tensor in (logits, loss, gradient))


@pytest.mark.parametrize("name", losses.names())
def test_gradient_reaches_the_features_of_every_image(name: str) -> None:
    head, labels = fitted_head(name), torch.tensor(LABELS["several of most classes"])
    features = rows(len(labels)).requires_grad_(True)
    for scalar in (head.training_loss(features, labels), torch.nn.functional.cross_entropy(head(features), labels)):
        (gradient,) = torch.autograd.grad(scalar, features)
        assert (gradient.abs().amax(1) > 0).all()


@pytest.mark.parametrize("name", losses.names())
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    head, labels = fitted_head(name, width=6).double(), torch.tensor(LABELS["several of most classes"])
    features = rows(len(labels), width=6).double().requires_grad_(True)
    assert torch.autograd.gradcheck(head, features)
    assert torch.autograd.gradcheck(lambda given: head.training_loss(given, labels), features)


@pytest.mark.parametrize("name", losses.names())
def test_fitting_changes_no_trained_weight_and_is_repeatable(name: str) -> None:
    head = fitted_head(name)
    weights = [weight.clone() for weight in head.parameters()]
    logits = head(rows(5))
    head.fit(rows(12, seed=9), torch.arange(12) % CLASSES)
    assert all(torch.equal(*pair) for pair in zip(weights, head.parameters(), strict=True))
    head.fit(rows(12, seed=1), torch.arange(12) % CLASSES)
    assert torch.equal(head(rows(5)), logits)


@pytest.mark.parametrize("name", losses.names())
def test_loss_declares_how_its_batches_are_drawn(name: str) -> None:
    assert losses.make(name, CONFIGS[name]).batches in losses.BATCHES


# --- cross_entropy -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_cross_entropy_equals_its_equation(smoothing: float) -> None:
    head, labels = make_head("cross_entropy", label_smoothing=smoothing), [0, 3, 3, 1, 2]
    features = rows(len(labels))
    weight, bias = (tensor.detach().double().numpy() for tensor in head.parameters())
    expected = []
    for row, label in zip(features.double().numpy(), labels, strict=True):
        scores = [float(weight[number] @ row + bias[number]) for number in range(CLASSES)]
        log_total = np.log(sum(np.exp(score - max(scores)) for score in scores)) + max(scores)
        wanted = [smoothing / CLASSES + (1 - smoothing) * (number == label) for number in range(CLASSES)]
        expected.append(sum(share * (log_total - score) for share, score in zip(wanted, scores, strict=True)))
    found = head.training_loss(features, torch.tensor(labels)).item()
    assert found == pytest.approx(np.mean(expected), rel=1e-5)


# --- angular -----------------------------------------------------------------------------------------------

ANGULAR: dict[str, Any] = {
    "embedding_dimensions": 7,
    "alpha_degrees": 35.0,
    "angular_weight": 0.7,
    "temperature": 0.3,
    "label_smoothing": 0.2,
    "scale": 12.0,
}


def lengths_one(features: np.ndarray) -> np.ndarray:
    return np.array([row / np.sqrt(sum(value * value for value in row)) for row in features])


def mapped(head: Head, features: Tensor) -> np.ndarray:
    """The head's linear map of features, in float64."""
    (weight,) = (tensor.detach().double().numpy() for tensor in head.parameters())
    return np.array([[float(row @ column) for column in weight] for row in features.double().numpy()])


def angular_by_loop(embeddings: np.ndarray, labels: list[int]) -> float:
    """The joined loss, one pair or one class at a time.

    The angular term: per pair (a, p) over the negatives of a, then the mean over all pairs. The N-pair
    term: per anchor that has a positive, over the classes of the batch; then the mean over those anchors.
    """
    unit, images = lengths_one(embeddings), range(len(labels))
    tan_squared = np.tan(np.deg2rad(ANGULAR["alpha_degrees"])) ** 2
    angular, n_pair = [], []
    for a in images:
        positives = [p for p in images if p != a and labels[p] == labels[a]]
        for p in positives:
            near = unit[a] @ unit[p]
            negatives = [n for n in images if labels[n] != labels[a]]
            corners = [4 * tan_squared * (unit[a] + unit[p]) @ unit[n] for n in negatives]
            angular.append(np.log(1 + sum(np.exp(corner - 2 * (1 + tan_squared) * near) for corner in corners)))
        if positives:
            shares = {}
            for label in sorted(set(labels)):
                mean = sum(unit[j] for j in images if j != a and labels[j] == label)
                shares[label] = np.exp(unit[a] @ mean / np.linalg.norm(mean) / ANGULAR["temperature"])
            total, smoothing = sum(shares.values()), ANGULAR["label_smoothing"]
            wanted = {label: smoothing / len(shares) + (1 - smoothing) * (label == labels[a]) for label in shares}
            n_pair.append(-sum(wanted[label] * np.log(share / total) for label, share in shares.items()))
    return float(np.mean(n_pair) + ANGULAR["angular_weight"] * np.mean(angular))


@pytest.mark.parametrize(
    "labels",
    [[0, 0, 1, 1], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3], [0, 0, 0, 1, 1, 2], [2, 2, 2, 2, 1]],
    ids=["two of each", "three of each", "uneven", "one of a class"],
)
def test_angular_loss_equals_its_equations(labels: list[int]) -> None:
    features = rows(len(labels), width=5).double() - 1  # some are negative: the loss may not rely on the signs
    head = make_head("angular", 5, **ANGULAR).double()
    found = head.training_loss(features, torch.tensor(labels))
    assert found.item() == pytest.approx(angular_by_loop(mapped(head, features), labels), rel=1e-9)


@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [1, 1, 1]], ids=["no positive", "no negative"])
def test_angular_loss_is_zero_where_it_has_no_triplet(labels: list[int]) -> None:
    features = rows(len(labels))
    assert make_head("angular", **ANGULAR).training_loss(features, torch.tensor(labels)).item() == 0


def centroids_by_loop(embeddings: np.ndarray, labels: list[int]) -> np.ndarray:
    unit, sums = lengths_one(embeddings), np.zeros((CLASSES, embeddings.shape[1]))
    for row, label in zip(unit, labels, strict=True):
        sums[label] += row
    return np.array([total / np.linalg.norm(total) if total.any() else total for total in sums])


@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 1, 1, 2], [0, 0, 2, 3]], ids=["every class", "one class absent"])
def test_angular_head_is_the_cosine_to_class_centroids(labels: list[int]) -> None:
    head, features, queries = make_head("angular", **ANGULAR), rows(len(labels)) - 1, rows(6, seed=2) - 1
    head.fit(features, torch.tensor(labels))
    centroids = centroids_by_loop(mapped(head, features), labels)
    np.testing.assert_allclose(dict(head.named_buffers())["centroids"].numpy(), centroids, atol=1e-6)
    expected = [
        [ANGULAR["scale"] * query @ centroid for centroid in centroids] for query in lengths_one(mapped(head, queries))
    ]
    np.testing.assert_allclose(head(queries).detach().numpy(), expected, atol=1e-5)


def test_angular_head_ignores_the_lengths_of_features() -> None:
    labels = torch.tensor(LABELS["several of most classes"])
    features, queries = rows(len(labels)), rows(6, seed=2)
    factors = torch.tensor([0.01, 0.5, 1, 2, 3, 10, 100, 1000])[:, None]
    one, other = make_head("angular", **ANGULAR), make_head("angular", **ANGULAR)
    one.fit(features, labels)
    other.fit(features * factors, labels)
    torch.testing.assert_close(other(queries * factors[:6]), one(queries), rtol=0, atol=1e-5)
    losses_found = [one.training_loss(given, labels).item() for given in (features, features * factors)]
    assert losses_found[0] == pytest.approx(losses_found[1], rel=1e-5)


def test_angular_head_forgets_what_it_was_fitted_to_before() -> None:
    head, labels = fitted_head("angular"), torch.arange(8) % CLASSES
    head.fit(rows(8), labels)
    once = make_head("angular")
    once.fit(rows(8), labels)
    assert torch.equal(head(rows(3)), once(rows(3)))


# --- losses with learned class weights -----------------------------------------------------------------------

MARGINS: dict[str, dict[str, Any]] = {
    "normface": {"scale": 9.0},
    "cosface": {"margin_cosine": 0.25, "scale": 9.0},
    "arcface": {"margin_degrees": 40.0, "scale": 9.0},
    "sphereface": {"angle_factor": 3, "cosine_weight": 1.5, "scale": 0.7},
}


def with_margin(name: str, angle: float) -> float:
    """The cosine that replaces the own class's cosine, from an angle in radians."""
    settings = MARGINS[name]
    if name == "cosface":
        return np.cos(angle) - settings["margin_cosine"]
    if name == "arcface":
        margin = np.deg2rad(settings["margin_degrees"])
        return np.cos(angle + margin) if angle + margin <= np.pi else np.cos(angle) - margin * np.sin(margin)
    if name == "sphereface":
        factor = settings["angle_factor"]
        part = int(angle * factor / np.pi)
        multiplied = (-1) ** part * np.cos(factor * angle) - 2 * part
        return (settings["cosine_weight"] * np.cos(angle) + multiplied) / (settings["cosine_weight"] + 1)
    return np.cos(angle)


def class_angles(head: Head, features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Angles in radians, N×classes, of features to the class weights; and the features' lengths."""
    (weight,) = (tensor.detach().double().numpy() for tensor in head.parameters())  # features×classes
    unit, classes = lengths_one(features.double().numpy()), lengths_one(weight.T)
    angles = [[np.arccos(row @ column) for column in classes] for row in unit]
    return np.array(angles), np.linalg.norm(features.double().numpy(), axis=1)


def facing(head: Head, degrees: list[float]) -> Tensor:
    """Features of different lengths at the given angles, in degrees, to the weights of class 0."""
    (weight,) = (tensor.detach().double() for tensor in head.parameters())
    along = torch.nn.functional.normalize(weight[:, 0], dim=0)
    across = torch.nn.functional.normalize(torch.ones_like(along) - along.sum() * along, dim=0)
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))[:, None]
    return (angles.cos() * along + angles.sin() * across) * torch.arange(1, len(degrees) + 1)[:, None]


@pytest.mark.parametrize("name", MARGINS)
@pytest.mark.parametrize(
    "labels",
    [[0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 0, 1], [2, 2, 2, 2, 2, 2]],
    ids=["all of the class they face", "mixed", "one other class"],
)
def test_margin_loss_equals_its_equation(name: str, labels: list[int]) -> None:
    head = make_head(name, 6, **MARGINS[name]).double()
    features = facing(head, [1, 35, 70, 100, 145, 179])  # every branch of every margin
    angles, lengths = class_angles(head, features)
    expected = []
    for row, length, label in zip(angles, lengths, labels, strict=True):
        scale = MARGINS[name]["scale"] * (length if name == "sphereface" else 1)
        cosines = [with_margin(name, angle) if j == label else np.cos(angle) for j, angle in enumerate(row)]
        total = sum(np.exp(scale * (cosine - cosines[label])) for cosine in cosines)
        expected.append(np.log(total))
    found = head.training_loss(features, torch.tensor(labels)).item()
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


@pytest.mark.parametrize("name", MARGINS)
def test_classifier_has_no_margin(name: str) -> None:
    head = make_head(name, 6, **MARGINS[name]).double()
    features = facing(head, [1, 35, 70, 100, 145, 179])
    angles, lengths = class_angles(head, features)
    scales = MARGINS[name]["scale"] * (lengths if name == "sphereface" else np.ones(6))
    np.testing.assert_allclose(head(features).detach().numpy(), scales[:, None] * np.cos(angles), atol=1e-9)


@pytest.mark.parametrize("name", MARGINS)
def test_class_weights_are_parameters_of_the_model(name: str) -> None:
    head = make_head(name)
    (weight,) = head.parameters()
    assert any(tensor is weight or torch.equal(tensor, weight) for tensor in head.state_dict().values())
    assert weight.numel() == 512 * CLASSES
    head.training_loss(rows(8), torch.tensor(LABELS["several of most classes"])).backward()
    assert weight.grad is not None and (weight.grad.abs().amax(0) > 0).all()


@pytest.mark.parametrize(("name", "off"), [("cosface", {"margin_cosine": 0.0}), ("arcface", {"margin_degrees": 0.0})])
def test_without_its_margin_a_loss_is_normface(name: str, off: dict[str, Any]) -> None:
    features, labels = rows(8), torch.tensor(LABELS["several of most classes"])
    plain = make_head("normface", scale=9.0).training_loss(features, labels)
    torch.testing.assert_close(make_head(name, scale=9.0, **off).training_loss(features, labels), plain)
