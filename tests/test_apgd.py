"""Auto-PGD: its search step by step, its losses, what it attacks, and the worst case of all attacks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from attacked import CLASSES, COUNT, TwoPlanes, grey_images, some_images, some_labels, subject_of, tiny_model
from torch import Tensor, nn

from robustness_study.attacks import catalogue, outcome
from robustness_study.attacks.apgd import Searches, with_cross_entropy
from robustness_study.attacks.apgd_search import (
    likeliest_others,
    looks,
    random_starts,
    search,
    targeted_dlr,
    true_label_loss,
)
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.square import margins
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.reduced import Reduced
from robustness_study.core.errors import StudyError

# --- the search --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "at"),
    [
        (100, {22, 41, 57, 70, 80, 87, 93, 99}),  # the paper's example: 0.22, 0.41, 0.57, 0.70, 0.80, 0.87, 0.93, 0.99
        (20, {5, 9, 12, 14, 16, 18, 19, 20}),
        (1, {1}),
    ],
)
def test_steps_are_looked_at_as_in_the_paper(steps: int, at: set[int]) -> None:
    assert looks(steps) == at


class Seen:
    """A model that remembers every batch of images that it was given, and each one's logits."""

    def __init__(self, model: TwoPlanes) -> None:
        self.model = model
        self.images: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        self.images.append(images.detach().clone())
        return self.model(images)


def by_hand(model: TwoPlanes, image: Tensor, label: int, start: Tensor, epsilon: float, steps: int) -> list[Tensor]:
    """The points of Algorithm 1 of the paper for one image, written as there, in float64; it never stops early."""
    model_weights = model.weights.double()
    low, high = (image - epsilon).clamp(0, 1), (image + epsilon).clamp(0, 1)

    def loss(point: Tensor) -> tuple[float, Tensor]:
        point = point.clone().requires_grad_(True)
        logits = point.flatten()[None] @ model_weights.T
        value = nn.functional.cross_entropy(logits, torch.tensor([label]))
        (slope,) = torch.autograd.grad(value, point)
        return value.item(), slope

    def project(point: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(point, low), high)

    x, size = project(image + epsilon * start), 2 * epsilon
    value, slope = loss(x)
    best, best_value, best_slope, before, points = x, value, slope, x, [x]
    rises, since, halved, best_at_look, at = 0, 0, True, value, sorted(looks(steps))
    for step in range(1, steps + 1):
        z = project(x + size * slope.sign())
        moved = z if step == 1 else project(x + 0.75 * (z - x) + 0.25 * (x - before))
        before, x, old = x, moved, value
        points.append(x)
        value, slope = loss(x)
        rises, since = rises + (value > old), since + 1
        if value > best_value:
            best, best_value, best_slope = x, value, slope
        if step in at:
            stuck = rises <= 0.75 * since or (not halved and best_at_look >= best_value)
            if stuck:
                size, x, value, slope = size / 2, best, best_value, best_slope
            halved, best_at_look, rises, since = stuck, best_value, 0, 0
    return points


def test_search_takes_the_steps_of_the_paper() -> None:
    """Point by point, on a linear model: the loss rises with every step, and the ball's far corner is reached."""
    model = TwoPlanes()
    labels = model(grey_images(60)).argmax(1)
    near = margins(model, grey_images(60), labels)
    chosen = ((near > 2) & (near < 8)).nonzero()[:4, 0]  # ε = 1/255 moves the margin by 0.9
    images, labels = grey_images(60)[chosen], labels[chosen]
    assert set(labels.tolist()) == {0, 1}
    seen, starts = Seen(model), random_starts(range(4), images.shape[1:], 0)
    found = search(seen, model, true_label_loss, images, labels, labels, starts, 1, 20)
    assert torch.equal(found, labels) and len(seen.images) == 21
    for position, label in enumerate(labels.tolist()):
        image, start = images[position].double(), starts[position].double()
        expected = by_hand(model, image, label, start, 1 / 255, 20)
        for step, (points, other) in enumerate(zip(seen.images, expected, strict=True)):
            torch.testing.assert_close(points[position].double(), other, rtol=0, atol=1e-6, msg=f"step {step}")
    fallen = margins(model, images, labels) - margins(model, seen.images[-1], labels)
    torch.testing.assert_close(fallen, torch.full((4,), 1 / 255 * model.norm), rtol=1e-4, atol=1e-4)


def test_images_that_are_wrong_get_no_more_steps() -> None:
    """Labels 0 and 1 of a linear model: the attacked images become wrong, at different steps."""
    model, images = TwoPlanes(), grey_images(12)
    labels = model(images).argmax(1)
    seen = Seen(model)
    starts = random_starts(range(12), images.shape[1:], 0)
    found = search(seen, model, true_label_loss, images, labels, labels, starts, 4, 20)
    sizes = [len(batch) for batch in seen.images]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0] == 12
    assert (found != labels).any()


def test_only_the_exact_model_judges() -> None:
    """The guide finds every image wrong at once; the model none. And the other way round."""
    images, labels = grey_images(5), torch.zeros(5, dtype=torch.int64)
    starts = random_starts(range(5), images.shape[1:], 0)
    right: Tensor = torch.tensor([1.0, 0.0, 0.0])
    says = {name: (lambda given, row=row: row.expand(len(given), -1) + 0 * given.sum((1, 2, 3))[:, None])
            for name, row in (("right", right), ("wrong", right.flip(0)))}  # fmt: skip
    for guide, judge, expected in (("wrong", "right", 0), ("wrong", "wrong", 2), ("right", "wrong", 0)):
        found = search(says[guide], says[judge], true_label_loss, images, labels, labels, starts, 4, 3)
        assert found.tolist() == [expected] * 5


def test_starts_of_an_image_do_not_depend_on_the_batch() -> None:
    starts = random_starts([3, 10, 17], (3, 8, 8), 0, "target", 1)
    assert torch.equal(random_starts([17, 4, 3], (3, 8, 8), 0, "target", 1)[[2, 0]], starts[[0, 2]])
    assert starts.abs().amax((1, 2, 3)).tolist() == [1.0] * 3
    for other in (("target", 2), ("cross-entropy", 1)):
        assert not torch.equal(random_starts([3], (3, 8, 8), 0, *other)[0], starts[0])


# --- the losses --------------------------------------------------------------------------------------------


def test_targeted_dlr_equals_its_equation() -> None:
    """−(z_y − z_t) / (z_1 − (z_3 + z_4) / 2) with z sorted downwards; Croce & Hein, section 4.3."""
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0, 0.0], [0.0, 4.0, 4.5, -1.0, 2.0]])
    labels, targets = torch.tensor([0, 1]), torch.tensor([2, 4])
    expected = torch.tensor([-(5 - 3) / (5 - (2 + 1) / 2), -(4 - 2) / (4.5 - (2 + 0) / 2)])
    torch.testing.assert_close(targeted_dlr(logits, labels, targets), expected)
    torch.testing.assert_close(targeted_dlr(1000 * logits, labels, targets), expected)
    three = logits[:, :3]
    torch.testing.assert_close(targeted_dlr(three, labels, torch.tensor([2, 0])), torch.tensor([-2.0, -4.0]))


def test_targets_are_the_likeliest_wrong_classes() -> None:
    logits = torch.tensor([[5.0, 1.0, 3.0, 2.0], [0.0, 4.0, 4.5, -1.0]])
    assert likeliest_others(logits, torch.tensor([0, 1]), 2).tolist() == [[2, 3], [2, 0]]
    assert likeliest_others(logits, torch.tensor([2, 2]), 9).tolist() == [[0, 3, 1], [1, 0, 3]]


# --- on a model --------------------------------------------------------------------------------------------


def test_each_epsilon_keeps_what_a_smaller_one_found() -> None:
    subject = subject_of(tiny_model(), apgd={"images": COUNT, "epsilons_255": [1, 2, 4, 16], "restarts": 1})
    found = subject.run("apgd")
    clean = subject.clean
    for name in ("apgd_ce", "apgd"):
        before = clean
        for predicted in found[name].predictions.values():
            wrong = before != subject.labels
            assert (predicted[wrong] == before[wrong]).all()
            before = predicted
        assert (before != subject.labels).sum() > (clean != subject.labels).sum()
    for epsilon, predicted in found["apgd"].predictions.items():
        wrong = found["apgd_ce"].predictions[epsilon] != subject.labels
        assert (predicted[wrong] != subject.labels[wrong]).all()


def test_controls_run_on_control_images_that_apgd_attacked() -> None:
    subject = subject_of(tiny_model(), apgd={"images": 6, "restarts": 1}, control_images=9)
    found = subject.run("apgd")
    for name in ("apgd_longer", "apgd_ce_second_start"):
        assert found[name].positions.tolist() == found["apgd"].positions.tolist() == subject.chosen(6).tolist()
    assert found["apgd_longer"].settings == {"steps": 25, "targets": 2, "restarts": 1}
    small = subject_of(tiny_model(), apgd={"images": 12, "restarts": 1}, control_images=5)
    assert small.run("apgd")["apgd_longer"].positions.tolist() == small.chosen(5).tolist()


@pytest.mark.parametrize("restarts", [1, 3])
def test_the_second_start_is_the_same_attack_from_other_points(restarts: int) -> None:
    """The same epsilons up to the control's, and the same number of restarts; so more restarts raise no difference."""
    subject = subject_of(tiny_model(), apgd={"images": COUNT, "epsilons_255": [1, 2, 4, 8], "restarts": restarts})
    found = subject.run("apgd")["apgd_ce_second_start"]
    searches = Searches(subject, subject.control)
    clean = subject.clean[subject.control]
    expected = with_cross_entropy(searches, clean, [1, 2, 4], 5, restarts, "second")
    assert {4: expected[4].tolist()} == {epsilon: said.tolist() for epsilon, said in found.predictions.items()}


def test_half_precision_guides_only_where_the_processor_computes_in_it() -> None:
    model, images = tiny_model(), to_float(some_images())
    half = Reduced(model, "bfloat16", "resnet18")(images)
    exact = model(images)
    native = torch.cpu.get_capabilities().get("avx512_bf16", False)
    assert torch.equal(half.float(), exact) != native
    torch.testing.assert_close(half.float(), exact, rtol=0.05, atol=0.05)
    assert torch.equal(Reduced(model, "bfloat16", "timm/test_resnet")(images), exact)
    assert torch.equal(Reduced(model, "float32", "resnet18")(images), exact)


# --- the worst case ----------------------------------------------------------------------------------------

LABELS, CLEAN = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 2])


def test_worst_case_is_of_every_attack_on_the_model_up_to_its_epsilon() -> None:
    found = {
        "fgsm": Found(np.arange(6), {0: CLEAN, 1: CLEAN, 2: np.array([1, 0, 0, 0, 1, 1]), 4: LABELS}),
        "pgd": Found(np.array([1, 3]), {1: np.array([2, 0]), 4: np.array([0, 0])}),
        "apgd": Found(np.array([0, 1, 2, 5]), {2: np.array([0, 0, 0, 2]), 4: np.array([2, 0, 0, 2])}),
        "knn_fgsm": Found(np.arange(6), {1: np.array([1, 1, 1, 1, 0, 0])}),  # of another classifier
        "square": Found(np.array([2]), {4: np.array([1])}),
    }
    worst = outcome.worst_case(found, LABELS, CLEAN)["worst_case"]
    assert worst.positions.tolist() == [0, 1, 2, 5]
    # Image 0: FGSM at 2. Image 1: PGD at 1. Image 2: Square at 4. Image 5: wrong without an attack, as FGSM helped it.
    assert {epsilon: said.tolist() for epsilon, said in worst.predictions.items()} == {
        2: [1, 2, 0, 2],
        4: [1, 2, 1, 2],
    }
    del found["apgd"]
    assert outcome.worst_case(found, LABELS, CLEAN) == {}


def test_worst_case_is_at_most_each_attack() -> None:
    subject = subject_of(tiny_model(), labels=some_labels())
    for name in ("fast_gradient_sign", "random_signs", "pgd", "apgd", "rescaled_logits", "square"):
        subject.run(name)
    worst = subject.worst_case()
    right = {epsilon: said == subject.labels[worst.positions] for epsilon, said in worst.predictions.items()}
    for name, found in subject.found.items():
        for epsilon in set(right) & set(found.predictions):
            both = np.intersect1d(worst.positions, found.positions)
            of_attack = found.of(both)[epsilon] == subject.labels[both]
            assert (right[epsilon][np.searchsorted(worst.positions, both)] <= of_attack).all(), name
    assert CLASSES == 3  # so APGD's second loss is the margin here


def test_worst_case_is_compared_on_images_that_every_attack_had() -> None:
    """PGD finds 3 of its 20 images that APGD misses: 15 points there, but less than 1 point of APGD's 400 images."""
    labels, clean = np.zeros(400, dtype=int), np.zeros(400, dtype=int)
    of_pgd = np.arange(20)
    found = {
        "fgsm": Found(np.arange(400), {0: clean, 2: clean}),
        "pgd": Found(of_pgd, {2: (of_pgd < 3).astype(int)}),
        "apgd": Found(np.arange(400), {2: clean}),
    }
    found |= outcome.worst_case(found, labels, clean)
    (alarm,) = outcome.compared(catalogue.WORST_CASE, found, labels, clean == labels)
    assert alarm.name == "worst_case_stronger" and "(20 images)" in alarm.reason


def test_prediction_of_an_image_that_was_not_attacked_is_refused() -> None:
    found = Found(np.array([1, 3]), {2: np.array([0, 1])})
    assert found.of(np.array([3]))[2].tolist() == [1]
    with pytest.raises(StudyError, match="no prediction for an image"):
        found.of(np.array([2]))
