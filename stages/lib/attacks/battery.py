"""Every attack on one model: who is predicted what under which, and whether the figures can be believed.

Beside the fast gradient sign method, which the study is about, stand attacks that it must lie between: random signs of
the same size are weaker; PGD is stronger; Square asks for no gradient, so a masked gradient does not stop it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from stages.lib.attacks import Logits, alarms
from stages.lib.attacks.alarms import Alarm
from stages.lib.attacks.pgd import projected_gradient_descent, random_starts
from stages.lib.attacks.signs import gradient_signs, random_signs, step
from stages.lib.attacks.square import square
from stages.lib.schema.attack import Attack
from stages.lib.subsets import stratified

FACTORS = (0.1, 10)  # that the logits are rescaled by
ByEpsilon = dict[int, np.ndarray]  # epsilon in grey levels → predicted labels


@dataclass(frozen=True)
class Target:
    """The attacked images, float32 in [0, 1] N×3×H×W, int64 labels, and their indices among the test images."""

    images: Tensor
    labels: Tensor
    indices: np.ndarray

    def of(self, positions: np.ndarray) -> Target:
        """Some of them."""
        chosen = torch.from_numpy(positions).to(self.images.device)
        return Target(self.images[chosen], self.labels[chosen], self.indices[positions])

    def right(self, predictions: ByEpsilon) -> ByEpsilon:
        """Who is right, bool N, at each epsilon."""
        labels = self.labels.cpu().numpy()
        return {epsilon: predicted == labels for epsilon, predicted in predictions.items()}


def in_batches(function: Callable[..., Tensor], batch_size: int, *tensors: Tensor) -> Tensor:
    """What a function of the tensors' rows gives, batch by batch."""
    starts = range(0, len(tensors[0]), batch_size)
    return torch.cat([function(*(tensor[start : start + batch_size] for tensor in tensors)) for start in starts])


def predict(logits: Logits, images: Tensor, batch_size: int) -> np.ndarray:
    """Predicted labels of float32 images in [0, 1], N×3×H×W."""
    with torch.no_grad():
        return in_batches(lambda batch: logits(batch).argmax(1), batch_size, images).cpu().numpy()


def rescale(logits: Logits, factor: float) -> Logits:
    """The same logits, times a factor: the same predictions, and another softmax."""
    return lambda images: factor * logits(images)


class Battery:
    """One model under every attack. Each method returns predictions, and adds an alarm to `alarms` where one is due."""

    def __init__(self, logits: Logits, target: Target, section: Attack) -> None:
        self.logits, self.target, self.section = logits, target, section
        self.alarms: list[Alarm | None] = []
        self.sizes = [epsilon for epsilon in section.epsilons_255 if epsilon > 0]
        self.device = target.images.device

    def chosen(self, count: int, name: str, among: np.ndarray | None = None) -> np.ndarray:
        """Positions of `count` of the attacked images, stratified; of those at the positions `among`, if given."""
        among = np.arange(len(self.target.labels)) if among is None else among
        labels = self.target.labels.cpu().numpy()[among]
        return among[stratified(labels, count, self.section.seed, name)]

    def signs_of(self, logits: Logits, target: Target) -> Tensor:
        """The gradient's signs, int8 N×3×H×W."""
        return in_batches(partial(gradient_signs, logits), self.section.batch_size, target.images, target.labels)

    def along(self, target: Target, signs: Tensor, epsilons_255: list[int]) -> ByEpsilon:
        """Predictions on images moved along signs."""
        return {
            epsilon: predict(self.logits, step(target.images, signs, epsilon), self.section.batch_size)
            for epsilon in epsilons_255
        }

    def fast_gradient_sign(self, chance: float) -> tuple[Tensor, ByEpsilon, ByEpsilon]:
        """Signs; predictions on the attacked images, and on those rounded to 8 bits."""
        target, batch_size = self.target, self.section.batch_size
        signs = self.signs_of(self.logits, target)
        self.alarms.append(alarms.zero_gradients(int((signs == 0).flatten(1).all(1).sum()), len(signs)))
        exact = self.along(target, signs, self.section.epsilons_255)
        rounded = {
            epsilon: predict(self.logits, torch.round(step(target.images, signs, epsilon) * 255) / 255, batch_size)
            for epsilon in self.section.epsilons_255
        }
        clean = predict(self.logits, target.images, batch_size)
        self.alarms.append(alarms.not_clean_at_zero(int((exact[0] != clean).sum()), len(clean)))
        self.alarms.append(alarms.rises_with_epsilon(target.right(exact), chance))
        return signs, exact, rounded

    def noise(self, fgsm: ByEpsilon) -> ByEpsilon:
        """Predictions on images moved along random signs."""
        target = self.target
        signs = random_signs(target.indices, target.images.shape[1:], self.section.seed).to(self.device)
        found = self.along(target, signs, self.sizes)
        self.alarms.append(
            alarms.stronger(
                "noise_stronger", "random-sign noise", "the gradient's sign", target.right(found), target.right(fgsm)
            )
        )
        return found

    def rescaled(self, fgsm: ByEpsilon, positions: np.ndarray) -> dict[str, ByEpsilon]:
        """Predictions when the signs are the gradient's of logits ×0.1 and ×10, which must not serve it better."""
        target, found = self.target.of(positions), {}
        reported = target.right({epsilon: predicted[positions] for epsilon, predicted in fgsm.items()})
        for factor in FACTORS:
            signs = self.signs_of(rescale(self.logits, factor), target)
            found[f"{factor:g}"] = self.along(target, signs, self.sizes)
            self.alarms.append(
                alarms.stronger(
                    "rescaled_logits",
                    f"the gradient of {factor:g} × the logits",
                    "the reported attack",
                    target.right(found[f"{factor:g}"]),
                    reported,
                    alarms.RESCALING_MARGIN,
                )
            )
        return found

    def pgd(self, fgsm: ByEpsilon, positions: np.ndarray) -> ByEpsilon:
        """Predictions under PGD: of each image, under the first restart that makes it wrong."""
        section, target = self.section.pgd, self.target.of(positions)
        found = {
            epsilon: self.pgd_restarted(target, fgsm[0][positions], epsilon)
            for epsilon in {*section.epsilons_255, section.large_epsilon_255}
        }
        large = target.right(found)[section.large_epsilon_255]
        self.alarms.append(alarms.some_left(large, section.large_epsilon_255))
        found = {epsilon: found[epsilon] for epsilon in section.epsilons_255}
        one_step = target.right({epsilon: fgsm[epsilon][positions] for epsilon in found})
        self.alarms.append(alarms.stronger("pgd_weaker", "one step", "PGD", one_step, target.right(found)))
        return found

    def pgd_restarted(self, target: Target, clean: np.ndarray, epsilon_255: int) -> np.ndarray:
        """Predictions after as many restarts as are needed and allowed; `clean` are those without an attack."""
        predicted, labels = clean.copy(), target.labels.cpu().numpy()
        for restart in range(self.section.pgd.restarts):
            left = np.flatnonzero(predicted == labels)
            if not len(left):
                break
            predicted[left] = self.pgd_once(target.of(left), epsilon_255, restart)
        return predicted

    def pgd_once(self, target: Target, epsilon_255: int, restart: int) -> np.ndarray:
        """Predictions after one restart."""
        starts = random_starts(target.indices, target.images.shape[1:], self.section.seed, restart).to(self.device)
        attacked = in_batches(
            lambda images, labels, start: projected_gradient_descent(
                self.logits, images, labels, epsilon_255, self.section.pgd.steps, start
            ),
            self.section.batch_size,
            target.images,
            target.labels,
            starts,
        )
        return predict(self.logits, attacked, self.section.batch_size)

    def square(self, pgd: ByEpsilon, pgd_positions: np.ndarray, positions: np.ndarray) -> ByEpsilon:
        """Predictions under the Square attack; `positions` are some of PGD's."""
        section, target = self.section.square, self.target.of(positions)
        attacked = square(
            self.logits,
            target.images,
            target.labels,
            section.epsilon_255,
            section.queries,
            target.indices,
            self.section.seed,
        )
        found = {section.epsilon_255: predict(self.logits, attacked, self.section.batch_size)}
        white = {section.epsilon_255: pgd[section.epsilon_255][np.searchsorted(pgd_positions, positions)]}
        black_right, white_right = target.right(found), target.right(white)
        self.alarms.append(
            alarms.stronger("square_stronger", "Square, without gradients,", "PGD", black_right, white_right)
        )
        return found
