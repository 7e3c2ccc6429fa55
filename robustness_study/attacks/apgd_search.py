"""The search of Auto-PGD (Croce & Hein 2020, arXiv 2003.01690): gradient steps whose size follows from their success.

The step has momentum. Now and then each image is looked at. If its loss rose in too few of the last steps, or if
neither its step size nor its best loss has changed since the last look, then the step is halved and the search goes on
from the best point so far.

A search guided by bfloat16 is faster on processors that compute in it. So there are two functions of the model here:
`guide` gives logits for the gradient and may be less exact; `judge` gives the labels that count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.scoring import Logits
from robustness_study.core.seeds import streams

MOMENTUM = 0.75  # weight of the new step; the last move has the rest
FIRST_LOOK = 22  # after this percentage of the steps
LESS, LEAST = 3, 6  # percentages: each pause between two looks is shorter by LESS, but not below LEAST
FEW_RISES = 0.75  # share of the steps since the last look; if no more of them raised the loss, the step is halved
FIRST_SIZE = 2.0  # of the steps, in epsilons

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # logits N×classes, labels N, targets N → N values, to be raised


def true_label_loss(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The cross-entropy of the true labels, N. It has no use for the targets."""
    return cross_entropy(logits, labels, reduction="none")


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The targeted difference of logits ratio (DLR), N: how far the target's logit is above the true label's.

    It is divided by a difference of the largest logits, so that the scale of the logits does not matter. With fewer
    than four classes there is no such difference, and the numerator alone is raised.
    """
    difference = logits.gather(1, targets[:, None])[:, 0] - logits.gather(1, labels[:, None])[:, 0]
    if logits.shape[1] < 4:
        return difference
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return difference / (first - (third + fourth) / 2 + 1e-12)


def likeliest_others(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The `count` wrong classes with the largest logits, int64 N×count, the likeliest first; fewer if there are few."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices


def random_starts(indices: Sequence[int] | np.ndarray, shape: Sequence[int], seed: int, *names: str | int) -> Tensor:
    """Random starting points in [−1, 1], in units of epsilon, float32 N×shape, on the CPU.

    The largest value of each is ±1, as in the authors' code. It depends only on the image's index, the seed and the
    names.
    """
    drawn = [rng.uniform(-1, 1, tuple(shape)) for rng in streams(indices, seed, "apgd", *names)]
    return torch.from_numpy(np.stack([each / np.abs(each).max() for each in drawn]).astype(np.float32))


def looks(steps: int) -> set[int]:
    """After which steps, counted from 1, the step sizes are looked at."""
    before, at, found = 0, FIRST_LOOK, set[int]()
    while at < 100:
        found.add(-(-at * steps // 100))  # rounded up
        before, at = at, at + max(at - before - LESS, LEAST)
    return found


@dataclass
class _State:
    """What the search knows of each image that is still correct. All tensors begin with N."""

    places: Tensor  # positions among the images of the call
    lowest: Tensor  # the smallest and the largest allowed values of the attacked image
    highest: Tensor
    now: Tensor  # the attacked image, its loss, the gradient there
    value: Tensor
    slope: Tensor
    last: Tensor  # the attacked image one step earlier
    best: Tensor  # the point with the highest loss so far, that loss, the gradient there
    best_value: Tensor
    best_slope: Tensor
    size: Tensor  # of the next step, in [0, 1]
    rises: Tensor  # number of steps since the last look in which the loss rose
    best_at_look: Tensor  # the highest loss at the last look
    halved: Tensor  # whether the step was halved at the last look

    def keep(self, chosen: Tensor) -> None:
        """Forget all images except those that are `chosen`, bool N."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name)[chosen])

    def look(self, since: int) -> None:
        """Halve the steps that did not help, and return to the best points. `since` counts steps from the last look."""
        stuck = (self.rises <= FEW_RISES * since) | (~self.halved & (self.best_at_look >= self.best_value))
        wide = stuck[:, None, None, None]
        self.now, self.slope = torch.where(wide, self.best, self.now), torch.where(wide, self.best_slope, self.slope)
        self.value = torch.where(stuck, self.best_value, self.value)
        self.size = torch.where(stuck, self.size / 2, self.size)
        self.halved, self.best_at_look, self.rises = stuck, self.best_value, torch.zeros_like(self.rises)


def search(
    guide: Logits,
    judge: Logits,
    loss: Loss,
    images: Tensor,
    labels: Tensor,
    targets: Tensor,
    starts: Tensor,
    epsilon_255: int,
    steps: int,
) -> Tensor:
    """The labels, int64 N, after one search for each image: the first wrong label that was seen, else the true one.

    Images are float32 in [0, 1], N×3×H×W. `starts` are in [−1, 1], in units of epsilon. An image that `judge` finds
    wrong gets no more steps. Raises StudyError if an attacked image is out of bounds.
    """
    found, epsilon = labels.clone(), epsilon_255 / 255
    lowest, highest = (images - epsilon).clamp(0, 1), (images + epsilon).clamp(0, 1)

    def inside(points: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(points, state.lowest), state.highest)

    def measured(points: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses, gradients and predicted labels at these points."""
        points = points.detach().requires_grad_(True)
        with torch.enable_grad():
            logits = guide(points).float()
            values = loss(logits, labels[places], targets[places])
            (slopes,) = torch.autograd.grad(values.sum(), points)
        return values.detach(), slopes, logits.detach().argmax(1)

    def without_wrong(said: Tensor) -> Tensor:
        """Which images are still correct, bool N. The exact model judges those that the guide finds wrong."""
        correct = said == labels[state.places]
        doubtful = (~correct).nonzero()[:, 0]
        if len(doubtful):
            places = state.places[doubtful]
            with torch.no_grad():
                found[places] = judge(state.now[doubtful]).argmax(1)
            correct[doubtful] = found[places] == labels[places]
        return correct

    now = torch.minimum(torch.maximum(images + epsilon * starts, lowest), highest)
    everyone = torch.arange(len(labels), device=images.device)
    value, slope, said = measured(now, everyone)
    none = torch.zeros_like(value)
    state = _State(
        everyone, lowest, highest, now, value, slope, now, now, value, slope, none + FIRST_SIZE * epsilon, none, value,
        torch.ones_like(none, dtype=torch.bool),
    )  # fmt: skip
    state.keep(without_wrong(said))
    since, at = 0, looks(steps)
    for step in range(1, steps + 1):
        if not len(state.places):
            break
        ahead = inside(state.now + state.size[:, None, None, None] * state.slope.sign())
        weight = MOMENTUM if step > 1 else 1.0
        moved = inside(state.now + weight * (ahead - state.now) + (1 - weight) * (state.now - state.last))
        before, (state.last, state.now) = state.value, (state.now, moved)
        state.value, state.slope, said = measured(moved, state.places)
        state.rises = state.rises + (state.value > before)
        better = state.value > state.best_value
        wide = better[:, None, None, None]
        state.best = torch.where(wide, state.now, state.best)
        state.best_slope = torch.where(wide, state.slope, state.best_slope)
        state.best_value = torch.where(better, state.value, state.best_value)
        assert_within(images[state.places], state.now, epsilon_255)
        state.keep(without_wrong(said))
        since += 1
        if step in at:
            state.look(since)
            since = 0
    return found
