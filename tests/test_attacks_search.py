"""Attacks that search, PGD and Square: equations, bounds, and no effect of one image on another."""

from __future__ import annotations

import sys
from collections import Counter

import numpy as np
import pytest
import torch
from attacked import (
    CLASSES,
    COUNT,
    TwoPlanes,
    alarm_names,
    grey_images,
    pgd_images,
    some_images,
    some_labels,
    subject_of,
    tiny_model,
)
from torch import Tensor, nn

from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.pgd import random_starts, search
from robustness_study.attacks.scoring import Logits, Target, to_8_bit
from robustness_study.attacks.square import margins, side_of_square, square
from robustness_study.classifier.inference import to_float

# --- projected gradient descent ----------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, 10])
@pytest.mark.parametrize("epsilon_255", [0, 1, 4, 16, 255])
def test_pgd_from_the_image_itself_equals_cleverhans_bit_for_bit(epsilon_255: int, steps: int) -> None:
    from cleverhans.torch.attacks.projected_gradient_descent import projected_gradient_descent as theirs

    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    epsilon = epsilon_255 / 255
    step_size = 2.5 * epsilon / steps
    found = pgd_images(model, images, labels, epsilon_255, steps, torch.zeros_like(images))
    expected = theirs(
        model, images, epsilon, step_size, steps, np.inf, clip_min=0.0, clip_max=1.0, y=labels, rand_init=False
    )
    assert torch.equal(found, expected) and not found.requires_grad


@pytest.mark.parametrize("epsilon_255", [1, 8, 255])
def test_pgd_stays_in_the_ball_and_the_range(epsilon_255: int) -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    starts = random_starts(range(COUNT), images.shape[1:], 0, 0)
    for steps in (1, 2, 5):  # one step is longer than the ball's width
        found = pgd_images(model, images, labels, epsilon_255, steps, starts)
        assert_within(images, found, epsilon_255)
        assert (found - images).abs().max() > 0.99 * epsilon_255 / 255


def test_pgd_keeps_an_image_at_the_step_where_it_became_wrong() -> None:
    """It starts at grey level 100 and gets lighter by 8 a step. Levels 130 to 150 are wrong: it is there at step 5."""
    asked: list[int] = []

    def logits(given: Tensor) -> Tensor:
        asked.append(len(given))
        levels = 255 * given.mean((1, 2, 3))
        wrong = (levels > 130) & (levels < 150)
        return torch.stack([(~wrong).float() - levels + levels.detach(), wrong.float()], 1)

    levels = torch.tensor([100.0, 60.0])  # the second image is there at step 10
    images, labels = levels[:, None, None, None].expand(-1, 3, 4, 4) / 255, torch.zeros(2, dtype=torch.int64)
    still, rights = torch.zeros_like(images), np.zeros(2, int)
    last = pgd_images(logits, images, labels, 64 + 32, 30, still)
    assert logits(last).argmax(1).tolist() == [0, 0]  # at the end it is lighter than that
    asked.clear()
    exact, rounded = search(logits, Target(images, labels, np.arange(2)), 64 + 32, 30, still, (rights, rights))
    assert exact.tolist() == rounded.tolist() == [1, 1] and rights.tolist() == [0, 0]
    assert asked == [2] * 5 + [2, 2] + [1] * 5 + [1, 1]


@pytest.mark.parametrize("steps", [1, 4, 5, 13])
def test_checking_predictions_between_steps_changes_no_step(steps: int) -> None:
    """If every prediction is correct, PGD makes all steps."""
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    starts = random_starts(range(COUNT), images.shape[1:], 0, 0)
    expected, seen = pgd_images(model, images, labels, 4, steps, starts), []

    def looked_at(given: Tensor) -> Tensor:
        seen.append(given.detach())
        right = nn.functional.one_hot(labels, CLASSES) * 1e3
        return model(given) + (0 if given.requires_grad else right)

    correct = labels.numpy()
    search(looked_at, Target(images, labels, np.arange(COUNT)), 4, steps, starts, (correct, correct))
    assert torch.equal(seen[-2], expected) and torch.equal(seen[-1], to_8_bit(expected))


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
def test_pgd_on_a_linear_model_reaches_the_worst_case_from_any_start(steps: int) -> None:
    model, images = TwoPlanes(), grey_images(6)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    starts = random_starts(range(6), images.shape[1:], 0, 0)
    starts[:, :, :2], starts[:, :, 2:4] = -1, 1  # also from corners of the ball
    found = pgd_images(model, images, labels, 16, steps, starts)
    fallen = margins(model, images, labels) - margins(model, found, labels)
    torch.testing.assert_close(fallen, torch.full((6,), 16 / 255 * model.norm), rtol=1e-5, atol=1e-5)


def test_random_starts_of_an_image_do_not_depend_on_the_batch() -> None:
    shape = (3, 32, 32)
    starts = random_starts([3, 10, 17], shape, 0, 0)
    assert torch.equal(random_starts([17, 4, 3], shape, 0, 0)[[2, 0]], starts[[0, 2]])
    assert starts.dtype == torch.float32 and -1 <= starts.min() < -0.99 and 0.99 < starts.max() <= 1
    assert starts.mean((1, 2, 3)).abs().max() < 4 / (3 * 3072) ** 0.5
    for other in (starts[1], random_starts([3], shape, 0, 1)[0], random_starts([3], shape, 1, 0)[0]):
        assert np.corrcoef(other.flatten(), starts[0].flatten())[0, 1] < 0.1


def gradient_free_logits(images: Tensor) -> Tensor:
    """Logits without a gradient, so that PGD stays where it starts.

    Grey images are class 0. A dark start is class 2 if its red is dark too, else class 1.
    """
    dark, red = (part.sub(127.5 / 255).lt(-1e-5) for part in (images.mean((1, 2, 3)), images[:, 0].mean((1, 2))))
    labels = dark * (1 + red.long())
    return nn.functional.one_hot(labels, CLASSES) + 0 * images.sum((1, 2, 3))[:, None]


@pytest.mark.parametrize("restarts", [1, 2, 4])
def test_the_first_successful_restart_of_each_image_is_kept(restarts: int) -> None:
    """Separately with and without rounding. Images that are wrong without an attack do not change."""
    grey, labels = torch.full((COUNT, 3, 8, 8), 0.5), torch.zeros(COUNT, dtype=torch.int64)
    labels[::3] = 1  # wrong on the clean image; some starts would make them correct
    subject = subject_of(gradient_free_logits, grey, labels, pgd={"restarts": restarts, "images": 12})
    found = subject.run("pgd")
    assert list(found) == ["pgd", "pgd_8_bit"]
    for name, attacked in found.items():
        positions = attacked.positions
        assert positions.tolist() == subject.chosen(12).tolist() and len(positions) == 12
        assert attacked.settings == {"steps": 3, "looked_at_every": 5, "restarts": restarts}
        assert list(attacked.predictions) == [2, 4, 64]  # the large one as well
        for epsilon, predictions in attacked.predictions.items():
            expected = np.zeros(12, int)
            for restart in reversed(range(restarts)):
                starts = random_starts(subject.target.indices[positions], (3, 8, 8), 0, restart)
                images = grey[positions] + epsilon / 255 * starts
                moved = gradient_free_logits(to_8_bit(images) if name == "pgd_8_bit" else images).argmax(1).numpy()
                expected = np.where(moved != 0, moved, expected)
            expected[labels[positions].numpy() == 1] = 0
            np.testing.assert_array_equal(predictions, expected, err_msg=f"{name}, {epsilon}")
    assert restarts < 4 or {0, 1, 2} == set(found["pgd"].predictions[4])


def only_rounding(images: Tensor) -> Tensor:
    """Logits without a gradient, for images that were at 64 or 192 before the attack.

    The former are wrong between grey levels where they have become darker, the latter on them, unless all at one.
    """
    levels = images * 255
    between = (levels - levels.round()).abs().amax((1, 2, 3)) > 0.1
    one = levels.amax((1, 2, 3)) - levels.amin((1, 2, 3)) < 0.1
    mean = levels.mean((1, 2, 3))
    wrong = torch.where(mean < 128, between & (mean < 64), ~between & ~one)
    return torch.stack([~wrong, wrong], 1) + 0 * images.sum((1, 2, 3))[:, None]


def test_pgd_is_scored_before_and_after_rounding_separately() -> None:
    """An image that one start made wrong stays wrong, even if the next start is run for its rounded version."""
    dark = np.arange(10) < 8
    levels = torch.where(torch.from_numpy(dark), 64.0, 192.0) / 255
    images = levels[:, None, None, None].expand(-1, 3, 8, 8).contiguous()
    subject = subject_of(only_rounding, images, torch.zeros(10, dtype=torch.int64))
    assert subject.clean.tolist() == [0] * 10
    first, second = (random_starts(subject.target.indices, (3, 8, 8), 0, n).mean((1, 2, 3)).numpy() < 0 for n in (0, 1))
    assert (dark & first & ~second).any() and (dark & ~first & second).any()
    found = subject.run("pgd")
    for epsilon in (2, 4):
        assert found["pgd"].predictions[epsilon].tolist() == (dark & (first | second)).astype(int).tolist()
        assert found["pgd_8_bit"].predictions[epsilon].tolist() == (~dark).astype(int).tolist()


def test_images_that_are_wrong_when_clean_are_not_attacked() -> None:
    """PGD and Square do not make them correct, although every moved image would be. `clean` has their predictions."""
    labels = torch.zeros(COUNT, dtype=torch.int64)
    clean = np.arange(COUNT) % CLASSES
    for said in range(CLASSES):  # whatever the logits predict on attacked images
        always = lambda given, said=said: torch.eye(CLASSES)[[said] * len(given)] + 0 * given.sum((1, 2, 3))[:, None]  # noqa: E731
        subject = subject_of(always, labels=labels, clean=clean)
        for found in (*subject.run("pgd").values(), subject.run("square")["square"]):
            was = clean[found.positions]
            for predictions in found.predictions.values():
                assert predictions.tolist() == np.where(was == 0, said, was).tolist()
        assert clean.tolist() == (np.arange(COUNT) % CLASSES).tolist()


@pytest.mark.parametrize(("one_step", "raised"), [(0, set()), (1, {"pgd_weaker"})])
def test_pgd_is_compared_with_one_step_on_images_correct_when_clean(one_step: int, raised: set[str]) -> None:
    """One step that makes them wrong is stronger, even if it makes as many others correct."""
    always: Logits = lambda given: torch.eye(2)[[0] * len(given)] + 0 * given.sum((1, 2, 3))[:, None]  # noqa: E731
    subject = subject_of(always, labels=torch.arange(COUNT) % 2, pgd={"images": COUNT})
    subject.found["fgsm"] = Found(np.arange(COUNT), dict.fromkeys((2, 4), np.full(COUNT, one_step)))
    subject.run("pgd")
    assert alarm_names(subject) == {"pgd_leaves_some"} | raised


# --- Square ------------------------------------------------------------------------------------------------


def test_square_sizes_equal_those_of_autoattack() -> None:
    """The share halves after 10, 50, 200 … of 10,000 queries. The widths, for 32 pixels, are computed by hand."""
    sides = {1: 29, 10: 29, 11: 20, 50: 20, 51: 14, 201: 10, 501: 7, 1001: 5, 2001: 4, 4001: 3, 6001: 2, 8001: 1}
    assert {query: side_of_square(query, 10_000, 32) for query in sides} == sides
    assert [side_of_square(query, 200, 32) for query in (1, 51, 199)] == [20, 4, 1]


@pytest.mark.parametrize("side", [1, 8, 32, 224])
@pytest.mark.parametrize("queries", [1, 7, 200, 1000, 10_000])
def test_squares_never_grow(queries: int, side: int) -> None:
    sides = [side_of_square(query, queries, side) for query in range(1, queries + 1)]
    assert sides == sorted(sides, reverse=True) and sides[-1] >= 1 and sides[0] <= side
    assert queries < 1000 or sides[0] == round(0.8**0.5 * side)


def test_margin_is_the_correct_logit_minus_the_best_other() -> None:
    logits = torch.tensor([[1.0, 4.0, 2.0], [1.0, 4.0, 2.0], [-3.0, -5.0, -3.5]])
    found = margins(lambda _: logits, torch.zeros(3, 3, 2, 2), torch.tensor([1, 2, 0]))
    assert found.tolist() == [2.0, -2.0, 0.5]


def test_square_lowers_the_margin_of_a_linear_model() -> None:
    model, images = TwoPlanes(), grey_images(6)
    labels = model(images).argmax(1)
    far = lambda given: model(given) + 100 * torch.eye(2)[labels[: len(given)]]  # noqa: E731  # so that no image becomes wrong
    before, fallen = margins(model, images, labels), []
    for queries in (1, 10, 400):
        found = square(far, images, labels, 4, queries, range(6), 0)
        assert_within(images, found, 4)
        fallen.append((before - margins(model, found, labels)) / (4 / 255 * model.norm))
    assert (fallen[0] < fallen[1]).all() and (fallen[1] < fallen[2]).all()
    assert (fallen[2] > 0.3).all() and (fallen[2] <= 1 + 1e-5).all()


class Counting:
    """Logits of images of one grey level each; counts the queries for each. An image that is too dark is wrong."""

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
def test_square_keeps_to_its_number_of_queries_per_image(queries: int) -> None:
    levels = torch.tensor([0.3, 0.5, 0.7])
    model = Counting(levels, threshold=0.0)  # none is ever wrong
    square(model, flat_images(levels), torch.zeros(3, dtype=torch.int64), 8, queries, range(3), 0)
    assert model.asked == {0: queries, 1: queries, 2: queries}


def test_square_stops_querying_an_image_that_is_wrong() -> None:
    levels = torch.tensor([0.3, 0.5, 0.7])
    model = Counting(
        levels, threshold=0.49
    )  # the first is already wrong, the second can be made wrong, the last cannot
    found = square(model, flat_images(levels), torch.zeros(3, dtype=torch.int64), 8, 200, range(3), 0)
    assert model.asked[0] == 1 and 1 < model.asked[1] < 200 and model.asked[2] == 200
    assert (found.mean((1, 2, 3)) < 0.49).tolist() == [True, True, False]
    model = Counting(levels, threshold=1.0)
    square(model, flat_images(levels), torch.zeros(3, dtype=torch.int64), 8, 200, range(3), 0)
    assert model.calls == 1


def test_squares_of_an_image_do_not_depend_on_the_batch() -> None:
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    indices = np.arange(COUNT) + 40
    every = square(model, images, labels, 8, 30, indices, 0)
    some = [9, 2, 5]
    assert torch.equal(square(model, images[some], labels[some], 8, 30, indices[some], 0), every[some])
    assert not torch.equal(square(model, images, labels, 8, 30, indices, 1), every)
    assert not torch.equal(square(model, images, labels, 8, 30, indices + 1, 0), every)


def test_square_changes_rectangles_within_stripes() -> None:
    """Each value is at the edge of the ball, unless that is outside the range. The first query has vertical stripes."""
    images = to_float(some_images())
    always = lambda given: torch.tensor([[1.0, 0.0]]).expand(len(given), -1)  # noqa: E731
    labels = torch.zeros(COUNT, dtype=torch.int64)
    stripes = square(always, grey_images(COUNT), labels, 8, 50, range(COUNT), 0) - grey_images(COUNT)
    torch.testing.assert_close(stripes.abs(), torch.full_like(stripes, 8 / 255))
    assert (stripes.sign() == stripes.sign()[:, :, :1]).all() and len(stripes.sign().unique()) == 2
    found = square(tiny_model(), images, some_labels(), 8, 50, range(COUNT), 0)
    edge = torch.stack([(images - 8 / 255).clamp(0), (images + 8 / 255).clamp(max=1)])
    assert ((found - edge).abs().amin(0) < 1e-6).all()


def test_square_is_guided_by_one_model_and_judged_by_another() -> None:
    """An image that only the guide finds wrong is searched on, until the judge agrees or no query is left."""
    model, images, labels = tiny_model(), to_float(some_images()), some_labels()
    asked = []

    def guide(given: Tensor) -> Tensor:  # it finds every image wrong
        return torch.nn.functional.one_hot((labels[0] + 1).expand(len(given)), 3).float()

    def judge(given: Tensor) -> Tensor:
        asked.append(len(given))
        return model(given)

    same = labels[:1].expand(len(images))
    found = square(guide, images, same, 8, 30, range(len(images)), 0, judge)
    assert torch.equal(found, square(model, images, same, 8, 30, range(len(images)), 0))
    assert asked[0] == len(images) and len(asked) > 1


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_square_gets_images_correct_when_clean_in_batches(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[np.ndarray] = []

    def spied(
        guide: Logits, images: Tensor, labels: Tensor, epsilon: int, queries: int, indices: np.ndarray, seed: int,
        judge: Logits,
    ) -> Tensor:  # fmt: skip
        given.append(indices)
        assert guide is subject.guide and judge is subject.logits
        return square(guide, images, labels, epsilon, queries, indices, seed, judge)

    monkeypatch.setattr(sys.modules[square.__module__], "square", spied)
    subject = subject_of(tiny_model(), batch_size=batch_size, square={"images": 9}, apgd={"images": 11})
    of_apgd = subject.chosen(11)
    subject.found["apgd"] = Found(of_apgd, {4: subject.clean[of_apgd]})
    found = subject.run("square")["square"]
    assert set(found.positions) <= set(of_apgd) and len(found.positions) == 9
    asked = found.positions[(subject.clean == subject.labels)[found.positions]]
    assert 1 < len(asked) < 9
    np.testing.assert_array_equal(np.concatenate(given), subject.target.indices[asked])
    sizes = [len(batch) for batch in given]
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1 and len(sizes) == -(-len(asked) // batch_size)
    assert found.settings == {"queries": 12} and list(found.predictions) == [4]
