"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083): many small steps, from several random starts.

The step and the projection come from cleverhans. Its loop is not used, because it draws the starts of a whole batch
from torch's global generator. Here the starts of an image depend only on its index and the seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks import alarms
from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import Logits, Target, predict, to_8_bit
from robustness_study.attacks.settings import ProjectedGradientDescent
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.classifier.batches import each_batch
from robustness_study.core.seeds import streams

REACH = 2.5  # length of all steps together, in epsilons: any point of the ball can reach any other (Madry et al.)
LOOK_EVERY = 5  # steps between two predictions; images that are wrong by then get no more steps, which saves most time


def random_starts(indices: Sequence[int] | np.ndarray, shape: Sequence[int], seed: int, restart: int) -> Tensor:
    """Random starting points in [−1, 1], in units of epsilon, float32 N×shape, on the CPU."""
    drawn = [rng.uniform(-1, 1, tuple(shape)) for rng in streams(indices, seed, "pgd", restart)]
    return torch.from_numpy(np.stack(drawn).astype(np.float32))


def step_size(epsilon_255: int, steps: int) -> float:
    """How far each step moves a value, in [0, 1]."""
    return REACH * epsilon_255 / 255 / steps


def start_at(images: Tensor, starts: Tensor, epsilon_255: int) -> Tensor:
    """The starting images, N×3×H×W in [0, 1]: `images` moved by epsilon times `starts`, which are in [−1, 1]."""
    return (images + epsilon_255 / 255 * starts).clamp(0, 1)


def descend(
    logits: Logits, images: Tensor, labels: Tensor, epsilon_255: int, size: float, steps: int, attacked: Tensor
) -> Tensor:
    """The images after `steps` more steps from `attacked`, N×3×H×W, kept within epsilon of `images` and in [0, 1].

    `size` is how far one step moves a value, in [0, 1]. `labels`, int64 N, are the true ones. Raises StudyError if the
    result is out of bounds.
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
    """Run one start of PGD on each image, until the image is wrong both as it is and rounded to 8 bits.

    The model predicts every LOOK_EVERY steps. `found` holds the labels, N, predicted so far: of the images as they are,
    and of the rounded images. Returns copies of both, in which the first wrong label seen replaces the correct one.
    """
    exact, rounded = (predicted.copy() for predicted in found)
    labels, remaining = target.labels.cpu().numpy(), np.arange(len(target.indices))
    attacked, done = start_at(target.images, starts, epsilon_255), 0
    size = step_size(epsilon_255, steps)
    while done < steps and len(remaining):
        batch = target.of(remaining)
        now = min(LOOK_EVERY, steps - done)
        attacked = descend(logits, batch.images, batch.labels, epsilon_255, size, now, attacked)
        done += now
        for predicted, images in ((exact, attacked), (rounded, to_8_bit(attacked))):
            correct = np.flatnonzero(predicted[remaining] == labels[remaining])
            if len(correct):
                some = images[torch.from_numpy(correct).to(images.device)]
                predicted[remaining[correct]] = predict(logits, some, len(some))
        keep = np.flatnonzero((exact[remaining] == labels[remaining]) | (rounded[remaining] == labels[remaining]))
        remaining, attacked = remaining[keep], attacked[torch.from_numpy(keep).to(attacked.device)]
    return [exact, rounded]


def restarted(
    subject: ModelUnderAttack, target: Target, clean: np.ndarray, epsilon_255: int, settings: ProjectedGradientDescent
) -> tuple[np.ndarray, np.ndarray]:
    """Labels predicted after PGD with restarts, N, of the images as they are and of the images rounded to 8 bits.

    An image gets no more restarts once it is wrong in both forms. `clean` are the labels, N, predicted without an
    attack; an image that is wrong there keeps that label.
    """
    batch_size, shape = subject.common.batch_size, target.images.shape[1:]
    labels, (exact, rounded) = target.labels.cpu().numpy(), (clean.copy(), clean.copy())
    for restart in range(settings.restarts):
        remaining = np.flatnonzero((exact == labels) | (rounded == labels))

        def of_batch(batch: slice, remaining: np.ndarray = remaining, restart: int = restart) -> None:
            some = remaining[batch]
            of_some = target.of(some)
            starts = random_starts(of_some.indices, shape, subject.common.seed, restart).to(subject.device)
            found = (exact[some], rounded[some])
            exact[some], rounded[some] = search(subject.logits, of_some, epsilon_255, settings.steps, starts, found)

        each_batch(of_batch, len(remaining), batch_size, subject.device)
    return exact, rounded


def run(subject: ModelUnderAttack, settings: ProjectedGradientDescent) -> dict[str, Found]:
    """Return the results `pgd` and `pgd_8_bit`: the first wrong label seen for each image, else the correct label.

    Raises StudyError if an attacked image is out of bounds.
    """
    positions = subject.chosen(settings.images)
    target, clean = subject.target.of(positions), subject.clean[positions]
    exact, rounded = {}, {}
    for epsilon in sorted({*settings.epsilons_255, settings.large_epsilon_255}):
        exact[epsilon], rounded[epsilon] = restarted(subject, target, clean, epsilon, settings)
    large = settings.large_epsilon_255
    subject.watch(alarms.some_left(target.correct(exact)[large], large))
    written = {"steps": settings.steps, "looked_at_every": LOOK_EVERY, "restarts": settings.restarts}
    return {"pgd": Found(positions, exact, written), "pgd_8_bit": Found(positions, rounded, written)}
