"""One step along signs: against its equation, and everything that would make its results wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from attacked import (
    CLASSES,
    COUNT,
    SECTION,
    Same,
    TwoPlanes,
    alarm_names,
    fgsm_by_loop,
    grey_images,
    pgd_images,
    some_images,
    some_labels,
    subject_of,
    tiny_model,
)
from torch import Tensor, nn

from robustness_study.attacks import fast_gradient_sign as fgsm
from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.outcome import summarise
from robustness_study.attacks.random_signs import random_signs
from robustness_study.attacks.scoring import Logits
from robustness_study.attacks.signs import gradient_signs, step
from robustness_study.attacks.square import square
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core.errors import StudyError

CPU = torch.device("cpu")


def fast_gradient_sign(model: Logits, images: Tensor, labels: Tensor, epsilon_255: int) -> Tensor:
    return step(images, gradient_signs(model, images, labels), epsilon_255)


# --- the step ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon_255", [0, 1, 8, 64, 255])
def test_attack_equals_its_equation(epsilon_255: int) -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    found = fast_gradient_sign(model, images, labels, epsilon_255)
    np.testing.assert_allclose(found.numpy(), fgsm_by_loop(model, images, labels, epsilon_255 / 255), atol=2e-7)
    assert found.dtype == torch.float32 and not found.requires_grad
    assert found.min() >= 0 and found.max() <= 1
    moved = (found.double() - images.double()).abs()
    assert moved.max() <= epsilon_255 / 255 + 1e-7
    assert epsilon_255 == 0 or moved.max() > 0.99 * epsilon_255 / 255
    assert torch.equal(found, images) == (epsilon_255 == 0)


def zero_gradient_in_left_half(model: Logits) -> Logits:
    """A model whose gradient is zero in the left half of an image."""
    return lambda images: model(images * (torch.arange(images.shape[3]) >= images.shape[3] // 2))


@pytest.mark.parametrize("epsilon_255", [0, 1, 2, 4, 8, 16, 255])
@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("levels", [True, False], ids=["of 8 bits", "between levels"])
def test_step_along_signs_equals_cleverhans_bit_for_bit(epsilon_255: int, blind: bool, levels: bool) -> None:
    """Signs are computed once for all epsilons. Each result equals cleverhans' at that epsilon, with clipping."""
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method

    model: Logits = zero_gradient_in_left_half(tiny_model()) if blind else tiny_model()
    images, labels = to_float(some_images()), some_labels()
    if not levels:
        images = torch.rand(images.shape, generator=torch.Generator().manual_seed(6)) ** 8  # down to 1e-9
    theirs = fast_gradient_method(model, images, epsilon_255 / 255, np.inf, clip_min=0.0, clip_max=1.0, y=labels)
    signs = gradient_signs(model, images, labels)
    assert torch.equal(step(images, signs, epsilon_255), theirs)
    assert signs.dtype == torch.int8 and bool((signs[..., : images.shape[3] // 2] == 0).all()) == blind


def test_attack_uses_true_labels_and_not_predictions() -> None:
    model, images = tiny_model(), to_float(some_images())
    predictions = model(images).argmax(1)
    labels = (predictions + 1) % CLASSES  # every image is already wrong
    found = fast_gradient_sign(model, images, labels, 8)
    np.testing.assert_allclose(found.numpy(), fgsm_by_loop(model, images, labels, 8 / 255), atol=2e-7)
    assert (found - fast_gradient_sign(model, images, predictions, 8)).abs().amax((1, 2, 3)).min() > 8 / 255
    subject = subject_of(model, images, labels)
    exact, _ = subject.fgsm()
    assert torch.equal(step(images, subject.gradient.signs, 8), found)
    np.testing.assert_array_equal(exact.predictions[8], model(found).argmax(1).numpy())


def test_attack_on_a_linear_model_reaches_the_worst_case() -> None:
    """With two linear logits one step is the worst case: the margin falls by ε times the 1-norm of the weights."""
    model, images = TwoPlanes(), grey_images(6)
    labels, each = torch.tensor([0, 1, 0, 1, 0, 1]), torch.arange(6)

    def margins(given: Tensor) -> Tensor:
        logits = model(given)
        return logits[each, labels] - logits[each, 1 - labels]

    fallen = margins(images) - margins(fast_gradient_sign(model, images, labels, 16))
    torch.testing.assert_close(fallen, torch.full((6,), 16 / 255 * model.norm), rtol=1e-5, atol=1e-5)


def test_random_signs_of_an_image_do_not_depend_on_the_batch() -> None:
    signs = random_signs([3, 10, 17], (3, 32, 32), 0)
    assert torch.equal(random_signs([17, 4, 3], (3, 32, 32), 0)[[2, 0]], signs[[0, 2]])
    assert signs.dtype == torch.int8 and set(signs.unique().tolist()) == {-1, 1}
    assert signs.float().mean((1, 2, 3)).abs().max() < 4 / 3072**0.5
    for other in (signs[1], random_signs([3], (3, 32, 32), 1)[0]):
        assert ((other == signs[0]).float().mean() - 0.5).abs() < 2 / 3072**0.5


@pytest.mark.parametrize("range_of", [lambda x: x * 2 - 1, lambda x: x * 255], ids=["[-1, 1]", "[0, 255]"])
def test_images_outside_the_range_are_refused(range_of: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(StudyError, match=r"give images in \[0, 1\] and put normalisation inside the model"):
        fast_gradient_sign(tiny_model(), range_of(to_float(some_images())), some_labels(), 4)


@pytest.mark.parametrize(
    ("value", "attacked", "within"),
    [
        (0.5, 0.5 + 4 / 255, True),
        (0.5, 0.5 - 4 / 255, True),
        (0.0, 0.0, True),
        (1.0, 1.0, True),
        (0.5, 0.5 + 4.01 / 255, False),
        (0.5, 0.5 - 4.01 / 255, False),
        (0.0, -0.001, False),
        (1.0, 1.001, False),
        (0.5, float("nan"), False),
    ],
)
def test_ball_and_range_are_checked_value_by_value(value: float, attacked: float, within: bool) -> None:
    images = torch.full((2, 3, 4, 4), 0.5)
    images[1, 2, 3, 1] = value
    moved = images.clone()
    moved[1, 2, 3, 1] = attacked
    if within:
        assert_within(images, moved, 4)
    else:
        with pytest.raises(StudyError, match="attack: epsilon 4/255 moved a value by ") as caught:
            assert_within(images, moved, 4)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_images_of_another_dtype_are_refused(dtype: torch.dtype) -> None:
    """Every attack refuses them, although a float32 step turns half precision into float32."""
    plain, images, labels = TwoPlanes(), grey_images(4), torch.tensor([0, 1, 0, 1])
    model: Logits = lambda given: plain(given.float())  # noqa: E731
    given, starts = images.to(dtype), torch.zeros_like(images)
    attacks: list[Callable[[], Tensor]] = [
        lambda: fast_gradient_sign(model, given, labels, 4),
        lambda: pgd_images(model, given, labels, 4, 2, starts),
        lambda: square(model, given, labels, 4, 2, range(4), 0),
    ]
    for attack in attacks:
        with pytest.raises(StudyError, match=f"^attack: images are {dtype}, in which small gradients can"):
            attack()
    for pair in ((given, images), (images, given)):
        with pytest.raises(StudyError, match=f"images are {dtype},"):
            assert_within(*pair, 255)


# --- the ladder --------------------------------------------------------------------------------------------


def test_ladder_holds_the_predictions_on_attacked_images() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    subject = subject_of(model)
    exact, rounded = subject.fgsm()
    assert torch.equal(subject.gradient.signs, gradient_signs(model, images, labels))
    ladders = [exact.predictions, rounded.predictions]
    assert exact.measured == {"zero_gradients": 0, "random_logits": 0} and exact.settings == {}
    assert exact.positions.tolist() == rounded.positions.tolist() == list(range(COUNT))
    for epsilon_255 in SECTION["epsilons_255"]:
        attacked = fgsm_by_loop(model, images, labels, epsilon_255 / 255)
        for ladder, seen in zip(ladders, (attacked, np.rint(attacked * 255) / 255), strict=True):
            assert list(ladder) == SECTION["epsilons_255"]
            expected = model(torch.from_numpy(seen).float()).argmax(1).numpy()
            np.testing.assert_array_equal(ladder[epsilon_255], expected)
    assert not np.array_equal(ladders[0][0], ladders[0][16])


def test_constant_model_has_the_same_accuracy_at_every_epsilon() -> None:
    favourite = torch.tensor([8.0, 0.0, 0.0])
    subject = subject_of(tiny_model(lambda logits: 0.01 * logits + favourite))
    exact, rounded = subject.fgsm()
    rows = summarise(exact.predictions, rounded.predictions, some_labels().numpy())
    found = {row[name] for row in rows for name in row if "acc" in name}
    assert found == {(some_labels() == 0).double().mean().item(), 1.0}  # 1 of those correct on the clean image
    assert not alarm_names(subject)


class BetweenLevels(nn.Module):
    """Three logits: the brightness of an image, whether it has values that no 8-bit file can hold, and zero."""

    def forward(self, images: Tensor) -> Tensor:
        levels = images * 255
        off = (levels - levels.round()).abs().amax((1, 2, 3)) > 0.1
        brightness = images.mean((1, 2, 3))
        return torch.stack([brightness, 2.0 * off, brightness * 0], 1)


def test_images_rounded_to_eight_bits_are_scored_separately(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fgsm, "step", lambda images, _, epsilon: images + 0.4 * epsilon / 255)
    model = Classifier(BetweenLevels(), Same(), [0.0] * 3, [1.0] * 3, width=CLASSES)
    exact, rounded = subject_of(model).fgsm()
    assert exact.predictions[1].tolist() == [1] * COUNT
    assert rounded.predictions[1].tolist() == exact.predictions[0].tolist() == [0] * COUNT


def test_summary_of_a_ladder() -> None:
    labels = np.array([0, 1, 2, 1, 0])
    exact = {0: np.array([0, 1, 2, 0, 1]), 4: np.array([0, 2, 2, 1, 1]), 8: np.array([1, 2, 0, 1, 0])}
    rounded = {0: np.array([0, 1, 2, 1, 1]), 4: np.array([2, 2, 2, 2, 1]), 8: np.array([1, 2, 0, 1, 0])}
    names = ("epsilon_255", "accuracy", "accuracy_of_clean_correct", "accuracy_8_bit")
    expected = [(0, 3 / 5, 1.0, 4 / 5), (4, 3 / 5, 2 / 3, 1 / 5), (8, 2 / 5, 0.0, 2 / 5)]
    assert summarise(exact, rounded, labels) == [dict(zip(names, row, strict=True)) for row in expected]


def test_summary_where_no_image_was_correct() -> None:
    (row,) = summarise({0: np.array([1, 1])}, {0: np.array([1, 0])}, np.array([0, 0]))
    assert (row["accuracy"], row["accuracy_of_clean_correct"], row["accuracy_8_bit"]) == (0, None, 0.5)
