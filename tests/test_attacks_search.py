"""Attacks that search, projected gradient descent and Square: equations, bounds, and each image for itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from attacked import COUNT, TwoPlanes, battery_of, grey_images, some_images, some_labels, tiny_model
from torch import Tensor

from stages.lib.attacks.pgd import projected_gradient_descent, random_starts
from stages.lib.attacks.signs import assert_within
from stages.lib.attacks.square import margins, side_of_square, square
from stages.lib.inference import to_float

# --- projected gradient descent ----------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, 10])
@pytest.mark.parametrize("epsilon_255", [0, 1, 4, 16, 255])
def test_from_the_image_itself_it_is_cleverhans_attack_bit_for_bit(epsilon_255: int, steps: int) -> None:
    from cleverhans.torch.attacks.projected_gradient_descent import projected_gradient_descent as theirs

    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    epsilon = epsilon_255 / 255
    step_size = 2.5 * epsilon / steps
    found = projected_gradient_descent(model, images, labels, epsilon_255, steps, torch.zeros_like(images))
    expected = theirs(
        model, images, epsilon, step_size, steps, np.inf, clip_min=0.0, clip_max=1.0, y=labels, rand_init=False
    )
    assert torch.equal(found, expected) and not found.requires_grad


@pytest.mark.parametrize("epsilon_255", [1, 8, 255])
def test_it_stays_in_the_ball_and_the_range(epsilon_255: int) -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    starts = random_starts(range(COUNT), images.shape[1:], 0, 0)
    for steps in (1, 2, 5):  # one step is longer than the ball is wide
        found = projected_gradient_descent(model, images, labels, epsilon_255, steps, starts)
        assert_within(images, found, epsilon_255)
        assert (found - images).abs().max() > 0.99 * epsilon_255 / 255


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_on_a_linear_model_it_reaches_the_worst_case_from_any_start(steps: int) -> None:
    model, images = TwoPlanes(), grey_images(6)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    starts = random_starts(range(6), images.shape[1:], 0, 0)
    starts[:, :, :2], starts[:, :, 2:4] = -1, 1  # corners of the ball as well
    found = projected_gradient_descent(model, images, labels, 16, steps, starts)
    fallen = margins(model, images, labels) - margins(model, found, labels)
    torch.testing.assert_close(fallen, torch.full((6,), 16 / 255 * model.norm), rtol=1e-5, atol=1e-5)


def test_random_starts_of_an_image_are_its_own() -> None:
    shape = (3, 32, 32)
    starts = random_starts([3, 10, 17], shape, 0, 0)
    assert torch.equal(random_starts([17, 4, 3], shape, 0, 0)[[2, 0]], starts[[0, 2]])
    assert starts.dtype == torch.float32 and -1 <= starts.min() < -0.99 and 0.99 < starts.max() <= 1
    assert starts.mean((1, 2, 3)).abs().max() < 4 / (3 * 3072) ** 0.5
    for other in (starts[1], random_starts([3], shape, 0, 1)[0], random_starts([3], shape, 1, 0)[0]):
        assert np.corrcoef(other.flatten(), starts[0].flatten())[0, 1] < 0.1


def heads_or_tails(images: Tensor) -> Tensor:
    """Logits without a gradient, so that PGD stays where it starts: on grey images, wrong from half of the starts."""
    above = torch.sign(images.mean((1, 2, 3)) - 0.5)
    return torch.stack([above, 0 * above], 1)


@pytest.mark.parametrize("restarts", [1, 2, 4])
def test_an_image_is_wrong_under_the_first_restart_that_makes_it_so(restarts: int) -> None:
    images, labels = torch.full((COUNT, 3, 8, 8), 0.5), torch.zeros(COUNT, dtype=torch.int64)
    labels[::3] = 1  # wrong when clean, and not to be put right
    tried = battery_of(heads_or_tails, images, labels, pgd={"restarts": restarts})
    _, fgsm, _ = tried.fast_gradient_sign(chance=1.0)
    positions = np.arange(1, COUNT)
    found = tried.pgd(fgsm, positions)
    assert list(found) == [2, 4]
    for predictions in found.values():
        starts = [random_starts(tried.target.indices[1:], (3, 8, 8), 0, restart) for restart in range(restarts)]
        ever_dark = torch.stack(starts).mean((2, 3, 4)).amin(0) < 0
        assert predictions.tolist() == (ever_dark & (labels[1:] == 0)).long().tolist()


def test_pgd_at_the_large_epsilon_is_told_only_where_it_is_asked_for() -> None:
    _, fgsm, _ = battery_of(tiny_model()).fast_gradient_sign(chance=1.0)
    for asked in ([2, 4], [4, 16]):
        tried = battery_of(tiny_model(), pgd={"epsilons_255": asked, "large_epsilon_255": 16})
        assert list(tried.pgd(fgsm, np.arange(COUNT))) == asked


# --- Square ------------------------------------------------------------------------------------------------


def test_squares_are_those_of_autoattack() -> None:
    """Its share halves after 10, 50, 200 … of 10,000 queries; here the sides are worked out by hand, of 32 pixels."""
    sides = {1: 29, 10: 29, 11: 20, 50: 20, 51: 14, 201: 10, 501: 7, 1001: 5, 2001: 4, 4001: 3, 6001: 2, 8001: 1}
    assert {query: side_of_square(query, 10_000, 32) for query in sides} == sides
    assert [side_of_square(query, 200, 32) for query in (1, 51, 199)] == [20, 4, 1]


@pytest.mark.parametrize("side", [1, 8, 32, 224])
@pytest.mark.parametrize("queries", [1, 7, 200, 1000, 10_000])
def test_squares_only_become_smaller(queries: int, side: int) -> None:
    sides = [side_of_square(query, queries, side) for query in range(1, queries + 1)]
    assert sides == sorted(sides, reverse=True) and sides[-1] >= 1 and sides[0] <= side
    assert queries < 1000 or sides[0] == round(0.8**0.5 * side)


def test_margins_are_of_the_right_class_above_the_best_other() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [-3.0, -5.0, -3.5]])
    found = margins(lambda _: logits, torch.zeros(3, 3, 2, 2), torch.tensor([1, 2, 0]))
    assert found.tolist() == [2.0, -2.0, 0.5]


def test_square_lowers_the_margin_of_a_linear_model() -> None:
    model, images = TwoPlanes(), grey_images(6)
    labels = model(images).argmax(1)
    far = lambda given: model(given) + 100 * torch.eye(2)[labels[: len(given)]]  # noqa: E731  # so that none turns wrong
    before, fallen = margins(model, images, labels), []
    for queries in (1, 10, 400):
        found = square(far, images, labels, 4, queries, range(6), 0)
        assert_within(images, found, 4)
        fallen.append((before - margins(model, found, labels)) / (4 / 255 * model.norm))
    assert (fallen[0] < fallen[1]).all() and (fallen[1] < fallen[2]).all()
    assert (fallen[2] > 0.3).all() and (fallen[2] <= 1 + 1e-5).all()


class Counting:
    """Logits of images that have one grey level each, and how often each is asked for; wrong where it is too dark."""

    def __init__(self, levels: Tensor, threshold: float) -> None:
        self.levels, self.threshold = levels, threshold
        self.asked: Counter[int] = Counter()
        self.calls = 0

    def __call__(self, images: Tensor) -> Tensor:
        brightness = images.mean((1, 2, 3))
        self.asked.update((brightness[:, None] - self.levels).abs().argmin(1).tolist())
        self.calls += 1
        return torch.stack([brightness - self.threshold, torch.zeros(len(images))], 1)


def flat_images(levels: Tensor) -> Tensor:
    return levels[:, None, None, None].expand(-1, 3, 8, 8).contiguous()


@pytest.mark.parametrize("queries", [1, 2, 30])
def test_square_asks_for_each_image_no_more_often_than_it_may(queries: int) -> None:
    levels = torch.tensor([0.3, 0.5, 0.7])
    model = Counting(levels, threshold=0.0)  # none is ever wrong
    square(model, flat_images(levels), torch.zeros(3, dtype=torch.int64), 8, queries, range(3), 0)
    assert model.asked == {0: queries, 1: queries, 2: queries}


def test_square_asks_no_more_for_an_image_that_is_wrong() -> None:
    levels = torch.tensor([0.3, 0.5, 0.7])
    model = Counting(levels, threshold=0.49)  # the second can be made wrong, the first is so already, the last cannot
    found = square(model, flat_images(levels), torch.zeros(3, dtype=torch.int64), 8, 200, range(3), 0)
    assert model.asked[0] == 1 and 1 < model.asked[1] < 200 and model.asked[2] == 200
    assert (found.mean((1, 2, 3)) < 0.49).tolist() == [True, True, False]
    model = Counting(levels, threshold=1.0)
    square(model, flat_images(levels), torch.zeros(3, dtype=torch.int64), 8, 200, range(3), 0)
    assert model.calls == 1


def test_squares_of_an_image_are_its_own() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    indices = np.arange(COUNT) + 40
    every = square(model, images, labels, 8, 30, indices, 0)
    some = [9, 2, 5]
    assert torch.equal(square(model, images[some], labels[some], 8, 30, indices[some], 0), every[some])
    assert not torch.equal(square(model, images, labels, 8, 30, indices, 1), every)
    assert not torch.equal(square(model, images, labels, 8, 30, indices + 1, 0), every)


def test_square_changes_rectangles_within_stripes() -> None:
    """Each value is at the edge of the ball, unless that is out of the range; the first try is of vertical stripes."""
    images = to_float(some_images())
    always = lambda given: torch.tensor([[1.0, 0.0]]).expand(len(given), -1)  # noqa: E731
    labels = torch.zeros(COUNT, dtype=torch.int64)
    stripes = square(always, grey_images(COUNT), labels, 8, 50, range(COUNT), 0) - grey_images(COUNT)
    torch.testing.assert_close(stripes.abs(), torch.full_like(stripes, 8 / 255))
    assert (stripes.sign() == stripes.sign()[:, :, :1]).all() and len(stripes.sign().unique()) == 2
    found = square(tiny_model(), images, some_labels(), 8, 50, range(COUNT), 0)
    edge = torch.stack([(images - 8 / 255).clamp(0), (images + 8 / 255).clamp(max=1)])
    assert ((found - edge).abs().amin(0) < 1e-6).all()
