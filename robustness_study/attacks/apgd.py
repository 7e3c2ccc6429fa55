"""Auto-PGD (APGD; Croce & Hein 2020, arXiv 2003.01690): the strongest single attack here.

First the cross-entropy of the true label is raised. Images that stay correct are then pushed towards their likeliest
wrong classes, one after the other, by the targeted DLR loss. These are two of the four attacks of AutoAttack; here with
fewer steps and targets (docs/honesty.md shows what that costs).

An image that is wrong at a smaller epsilon is wrong at a larger one too, because the smaller ball is part of the larger
one. So each epsilon attacks only what is left.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.apgd_search import (
    Loss,
    likeliest_others,
    random_starts,
    search,
    targeted_dlr,
    true_label_loss,
)
from robustness_study.attacks.outcome import ByEpsilon, Found
from robustness_study.attacks.scoring import Logits
from robustness_study.attacks.settings import AutoPGD
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.classifier.batches import each_batch, in_batches

LONGER = 5  # times the steps, for the control that shows whether more steps find more


class Searches:
    """Searches on some of a model's images. `guide` gives the logits for the gradients, if not the model's own."""

    def __init__(self, subject: ModelUnderAttack, positions: np.ndarray, guide: Logits | None = None) -> None:
        self.subject, self.positions, self.guide = subject, positions, guide or subject.guide
        self.labels = subject.labels[positions]
        self.any_target = torch.zeros(len(positions), dtype=torch.int64, device=subject.device)

    def attack(
        self,
        predicted: np.ndarray,
        loss: Loss,
        epsilon_255: int,
        steps: int,
        *names: str | int,
        targets: Tensor | None = None,
    ) -> np.ndarray:
        """The labels, N, after one search on each image that is correct in `predicted`, N; the others keep theirs.

        `names` decide the random starts. `targets`, int64 N, are classes for a targeted loss.
        """
        subject, found = self.subject, predicted.copy()
        towards = self.any_target if targets is None else targets
        left = np.flatnonzero(predicted == self.labels)

        def of_batch(batch: slice) -> None:
            some = left[batch]
            target = subject.target.of(self.positions[some])
            starts = random_starts(target.indices, target.images.shape[1:], subject.common.seed, *names)
            said = search(
                self.guide,
                subject.logits,
                loss,
                target.images,
                target.labels,
                towards[torch.from_numpy(some).to(subject.device)],
                starts.to(subject.device),
                epsilon_255,
                steps,
            )
            found[some] = said.cpu().numpy()

        each_batch(of_batch, len(left), subject.common.batch_size, subject.device)
        return found

    def targets(self, count: int) -> list[Tensor]:
        """The likeliest wrong classes of each image without an attack: `count` tensors, int64 N each."""
        target = self.subject.target.of(self.positions)

        @torch.no_grad()  # of the thread that computes the batch
        def of_batch(images: Tensor, labels: Tensor) -> Tensor:
            return likeliest_others(self.subject.logits(images), labels, count)

        found = in_batches(of_batch, self.subject.common.batch_size, target.images, target.labels)
        return list(found.unbind(1))


def with_cross_entropy(
    searches: Searches, predicted: np.ndarray, epsilons_255: list[int], steps: int, restarts: int, starts: str = "first"
) -> ByEpsilon:
    """The labels, N, by epsilon, after raising the cross-entropy. `predicted`, N, are those without an attack.

    `starts` is a name: with another one, the same attack begins at other random points.
    """
    found = {}
    for epsilon in epsilons_255:
        for restart in range(restarts):
            predicted = searches.attack(predicted, true_label_loss, epsilon, steps, "cross-entropy", starts, restart)
        found[epsilon] = predicted
    return found


def run(subject: ModelUnderAttack, settings: AutoPGD) -> dict[str, Found]:
    """Return the results `apgd_ce` and `apgd`, and those of two controls at one epsilon, on the control images.

    Raises StudyError if an attacked image is out of bounds.
    """
    positions = subject.chosen(settings.images)
    searches, clean = Searches(subject, positions), subject.clean[positions]
    by_cross_entropy = with_cross_entropy(searches, clean, settings.epsilons_255, settings.steps, settings.restarts)
    after, by_both = clean, {}
    targets = searches.targets(settings.targets)
    for epsilon, said in by_cross_entropy.items():
        after = np.where(after == searches.labels, said, after)
        for number, classes in enumerate(targets):
            for restart in range(settings.restarts):
                names = ("target", number, restart)
                after = searches.attack(after, targeted_dlr, epsilon, settings.steps, *names, targets=classes)
        by_both[epsilon] = after
    written = {"steps": settings.steps, "targets": settings.targets, "restarts": settings.restarts}
    found = {"apgd_ce": Found(positions, by_cross_entropy, written), "apgd": Found(positions, by_both, written)}
    return found | _controls(subject, settings, found["apgd"], written)


def _controls(subject: ModelUnderAttack, settings: AutoPGD, found: Found, written: dict[str, int]) -> dict[str, Found]:
    """Another random start, and five times the steps, at the control's epsilon, on control images."""
    epsilon, steps = settings.control_epsilon_255, settings.steps
    positions = np.intersect1d(subject.control, found.positions)
    searches = Searches(subject, positions)
    smaller = [each for each in settings.epsilons_255 if each <= epsilon]  # as the attack itself has done
    clean = subject.clean[positions]
    second = with_cross_entropy(searches, clean, smaller, steps, settings.restarts, "second")[epsilon]
    longer = found.of(positions)[epsilon]
    longer = searches.attack(longer, true_label_loss, epsilon, LONGER * steps, "cross-entropy", "first", 0)
    (likeliest,) = searches.targets(1)
    longer = searches.attack(longer, targeted_dlr, epsilon, LONGER * steps, "target", 0, 0, targets=likeliest)
    return {
        "apgd_ce_second_start": Found(positions, {epsilon: second}, written),
        "apgd_longer": Found(positions, {epsilon: longer}, written | {"steps": LONGER * steps}),
    }
