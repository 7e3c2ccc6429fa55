"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083): many small steps, from several random starts.

Its step and its projection are cleverhans'. cleverhans' own loop draws the start from torch's global generator for
the whole batch; here an image's starts depend on its index and the seed, and not on the other images of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks import alarms
from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.catalogue import ProjectedGradientDescent
from robustness_study.attacks.scoring import Found, Logits, Target, predict, to_8_bit
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.core.seeds import streams

REACH = 2.5  # all steps together, in epsilons: every point of the ball is within reach of every other (Madry et al.)
LOOK_EVERY = 5  # steps, whether an image is wrong yet: what costs most is to go on with those that are


def random_starts(indices: Sequence[int] | np.ndarray, shape: Sequence[int], seed: int, restart: int) -> Tensor:
    """Starting points in [−1, 1] of epsilon, float32 N×shape, on the CPU."""
    drawn = [rng.uniform(-1, 1, tuple(shape)) for rng in streams(indices, seed, "pgd", restart)]
    return torch.from_numpy(np.stack(drawn).astype(np.float32))


def step_size(epsilon_255: int, steps: int) -> float:
    """How far each step moves a value, in [0, 1]."""
    return REACH * epsilon_255 / 255 / steps


def start_at(images: Tensor, starts: Tensor, epsilon_255: int) -> Tensor:
    """Where in the balls around images N×3×H×W `starts`, in [−1, 1], begin."""
    return (images + epsilon_255 / 255 * starts).clamp(0, 1)


def descend(
    logits: Logits, images: Tensor, labels: Tensor, epsilon_255: int, size: float, steps: int, attacked: Tensor
) -> Tensor:
    """So many steps, each of `size`, further from `attacked`, in the ball around `images`.

    Raises StudyError if the result leaves the ball or the range.
    """
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method
    from cleverhans.torch.utils import clip_eta

    for _ in range(steps):
        stepped = fast_gradient_method(
            logits, attacked, size, norm=np.inf, clip_min=0.0, clip_max=1.0, y=labels
        ).detach()
        attacked = (images + clip_eta(stepped - images, np.inf, epsilon_255 / 255)).clamp(0, 1)
    assert_within(images, attacked, epsilon_255)
    return attacked


def search(
    logits: Logits, target: Target, epsilon_255: int, steps: int, starts: Tensor, found: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Descend until an image is wrong, as it is and rounded to 8 bits, which is looked at every few steps.

    `found` are the labels, N, predicted so far of the images as they are and of the rounded ones; the same are
    returned, each with the first wrong label that was seen in place of the right one.
    """
    exact, rounded = (predicted.copy() for predicted in found)
    labels, left = target.labels.cpu().numpy(), np.arange(len(target.indices))
    attacked, done = start_at(target.images, starts, epsilon_255), 0
    size = step_size(epsilon_255, steps)
    while done < steps and len(left):
        of_left = target.of(left)
        now = min(LOOK_EVERY, steps - done)
        attacked = descend(logits, of_left.images, of_left.labels, epsilon_255, size, now, attacked)
        done += now
        for predicted, images in ((exact, attacked), (rounded, to_8_bit(attacked))):
            right = np.flatnonzero(predicted[left] == labels[left])
            if len(right):
                some = images[torch.from_numpy(right).to(images.device)]
                predicted[left[right]] = predict(logits, some, len(some))
        keep = np.flatnonzero((exact[left] == labels[left]) | (rounded[left] == labels[left]))
        left, attacked = left[keep], attacked[torch.from_numpy(keep).to(attacked.device)]
    return [exact, rounded]


def restarted(
    subject: ModelUnderAttack, target: Target, clean: np.ndarray, epsilon_255: int, settings: ProjectedGradientDescent
) -> tuple[np.ndarray, np.ndarray]:
    """Labels predicted, N, after as many restarts as are needed and allowed, and the same for images of 8 bits.

    An image that is wrong without an attack, by `clean`, stays so.
    """
    batch_size, shape = subject.common.batch_size, target.images.shape[1:]
    labels, (exact, rounded) = target.labels.cpu().numpy(), (clean.copy(), clean.copy())
    for restart in range(settings.restarts):
        left = np.flatnonzero((exact == labels) | (rounded == labels))
        for begin in range(0, len(left), batch_size):
            some = left[begin : begin + batch_size]
            of_some = target.of(some)
            starts = random_starts(of_some.indices, shape, subject.common.seed, restart).to(subject.device)
            found = (exact[some], rounded[some])
            exact[some], rounded[some] = search(subject.logits, of_some, epsilon_255, settings.steps, starts, found)
    return exact, rounded


def run(subject: ModelUnderAttack, settings: ProjectedGradientDescent) -> dict[str, Found]:
    """`pgd` and `pgd_8_bit`. For each image, the first wrong label that was seen, or else the right one.

    Raises StudyError if a moved image is out of bounds.
    """
    positions = subject.chosen(settings.images, "pgd")
    target, clean = subject.target.of(positions), subject.clean[positions]
    exact, rounded = {}, {}
    for epsilon in sorted({*settings.epsilons_255, settings.large_epsilon_255}):
        exact[epsilon], rounded[epsilon] = restarted(subject, target, clean, epsilon, settings)
    large = settings.large_epsilon_255
    subject.watch(alarms.some_left(target.right(exact)[large], large))
    written = {"steps": settings.steps, "looked_at_every": LOOK_EVERY, "restarts": settings.restarts}
    return {"pgd": Found(positions, exact, written), "pgd_8_bit": Found(positions, rounded, written)}
