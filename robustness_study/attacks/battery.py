"""Every attack on one model: who is predicted what under which, and whether the figures can be believed.

Beside the fast gradient sign method, which the study is about, stand attacks that it must lie between: random signs of
the same size are weaker; PGD is stronger; Square asks for no gradient, so a masked gradient does not stop it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks import Logits, alarms
from robustness_study.attacks.alarms import Alarm
from robustness_study.attacks.pgd import LOOK_EVERY, random_starts, search
from robustness_study.attacks.scoring import (
    ByEpsilon,
    Found,
    Target,
    at,
    features_of,
    in_batches,
    is_8_bit,
    predict,
    rescale,
    to_8_bit,
)
from robustness_study.attacks.signs import gradient_signs, random_signs, step
from robustness_study.attacks.square import square
from robustness_study.attacks.stand_in import SoftNeighbours
from robustness_study.classifier.model import Classifier
from robustness_study.core.subsets import stratified
from robustness_study.evaluation.neighbours import knn_predictions
from robustness_study.schema.attack import Attack

FACTORS = (0.1, 10)  # that the logits are rescaled by


class Battery:
    """One model under every attack. Each method returns predictions, and adds to `alarms` those that are due."""

    def __init__(self, logits: Logits, target: Target, section: Attack, clean: np.ndarray) -> None:
        """`clean` are the labels, N, that `evaluate` saw predicted of the unattacked images."""
        self.logits, self.target, self.section, self.clean = logits, target, section, clean
        self.alarms: list[Alarm] = []
        self.labels = target.labels.cpu().numpy()
        self.sizes = [epsilon for epsilon in section.epsilons_255 if epsilon > 0]
        self.device = target.images.device

    def watch(self, alarm: Alarm | None) -> None:
        """Keep an alarm, if it is one."""
        if alarm is not None:
            self.alarms.append(alarm)

    def chosen(self, count: int, name: str, among: np.ndarray | None = None) -> np.ndarray:
        """Positions of `count` of the attacked images, stratified; of those at the positions `among`, if given."""
        among = np.arange(len(self.labels)) if among is None else among
        return among[stratified(self.labels[among], count, self.section.seed, name)]

    def signs_of(self, logits: Logits, target: Target) -> tuple[Tensor, np.ndarray]:
        """The gradient's signs, int8 N×3×H×W, and the labels, N, that the pass it comes from predicted."""
        predicted = []

        def watched(images: Tensor) -> Tensor:
            found = logits(images)
            predicted.append(found.detach().argmax(1))
            return found

        signs = in_batches(partial(gradient_signs, watched), self.section.batch_size, target.images, target.labels)
        return signs, torch.cat(predicted).cpu().numpy()

    def along(self, target: Target, signs: Tensor, epsilons_255: list[int]) -> ByEpsilon:
        """Predictions on images moved along signs."""
        return {
            epsilon: predict(self.logits, step(target.images, signs, epsilon), self.section.batch_size)
            for epsilon in epsilons_255
        }

    def fast_gradient_sign(self) -> tuple[Tensor, Found, Found]:
        """Signs; what is found with the attacked images, and with those rounded to 8 bits."""
        target, everyone = self.target, np.arange(len(self.labels))
        signs, unmoved = self.signs_of(self.logits, target)
        zero = without_gradient(signs)
        self.watch(alarms.zero_gradients(zero, len(signs)))
        exact, rounded = {}, {}
        for epsilon in self.section.epsilons_255:
            attacked = step(target.images, signs, epsilon)
            moved = epsilon > 0
            exact[epsilon] = predict(self.logits, attacked, self.section.batch_size) if moved else unmoved
            rounded[epsilon] = exact[epsilon]
            if not is_8_bit(attacked):
                rounded[epsilon] = predict(self.logits, to_8_bit(attacked), self.section.batch_size)
        self.watch(alarms.not_clean_at_zero(int((exact[0] != self.clean).sum()), len(self.clean)))
        chance = np.bincount(self.labels).max() / len(self.labels)  # of always saying the commonest class
        self.watch(alarms.rises_with_epsilon(target.right(exact), chance))
        return signs, Found(everyone, exact, {"zero_gradients": zero}), Found(everyone, rounded)

    def noise(self, fgsm: ByEpsilon, positions: np.ndarray) -> Found:
        """With images moved along random signs."""
        target = self.target.of(positions)
        signs = random_signs(target.indices, target.images.shape[1:], self.section.seed).to(self.device)
        found = self.along(target, signs, self.sizes)
        names = ("noise_stronger", "random-sign noise", "the gradient's sign")
        self.watch(alarms.stronger(*names, target.right(found), target.right(at(fgsm, positions))))
        return Found(positions, found)

    def rescaled(self, fgsm: ByEpsilon, positions: np.ndarray) -> dict[str, Found]:
        """With the signs of the gradient of the logits ×0.1 and ×10, which must not serve it better."""
        target, found = self.target.of(positions), {}
        reported = target.right(at(fgsm, positions))
        for factor in FACTORS:
            signs, _ = self.signs_of(rescale(self.logits, factor), target)
            predicted = self.along(target, signs, self.sizes)
            names = ("rescaled_logits", f"the gradient of {factor:g} × the logits", "the reported attack")
            self.watch(alarms.stronger(*names, target.right(predicted), reported, alarms.MARGIN))
            found[f"fgsm_of_logits_x{factor:g}"] = Found(positions, predicted)
        return found

    def pgd(self, fgsm: ByEpsilon) -> dict[str, Found]:
        """With PGD, as it is and rounded to 8 bits; of each image, what the first look that finds it wrong says of it.

        Who is wrong without an attack stays so.
        """
        section = self.section.pgd
        positions = self.chosen(section.images, "pgd")
        target, clean = self.target.of(positions), self.clean[positions]
        exact, rounded = {}, {}
        for epsilon in sorted({*section.epsilons_255, section.large_epsilon_255}):
            exact[epsilon], rounded[epsilon] = self.pgd_restarted(target, clean, epsilon)
        right, was_right = target.right(exact), clean == self.labels[positions]
        self.watch(alarms.some_left(right[section.large_epsilon_255], section.large_epsilon_255))
        # Those wrong when clean count as wrong under PGD, so they must in what it is compared with.
        one_step = target.right(at({epsilon: fgsm[epsilon] for epsilon in section.epsilons_255}, positions))
        one_step = {epsilon: found & was_right for epsilon, found in one_step.items()}
        self.watch(alarms.stronger("pgd_weaker", "one step", "PGD", one_step, right))
        settings = {"steps": section.steps, "looked_at_every": LOOK_EVERY, "restarts": section.restarts}
        return {"pgd": Found(positions, exact, settings), "pgd_8_bit": Found(positions, rounded, settings)}

    def pgd_restarted(self, target: Target, clean: np.ndarray, epsilon_255: int) -> tuple[np.ndarray, np.ndarray]:
        """Predictions after as many restarts as are needed and allowed, and the same with images rounded to 8 bits."""
        section, batch_size = self.section.pgd, self.section.batch_size
        labels, (exact, rounded) = target.labels.cpu().numpy(), (clean.copy(), clean.copy())
        for restart in range(section.restarts):
            left = np.flatnonzero((exact == labels) | (rounded == labels))
            for begin in range(0, len(left), batch_size):
                some = left[begin : begin + batch_size]
                of_some, shape = target.of(some), target.images.shape[1:]
                starts = random_starts(of_some.indices, shape, self.section.seed, restart).to(self.device)
                found = (exact[some], rounded[some])
                exact[some], rounded[some] = search(self.logits, of_some, epsilon_255, section.steps, starts, found)
        return exact, rounded

    def square(self, pgd: Found) -> Found:
        """With the Square attack, on some of PGD's images. Who is wrong without an attack stays so."""
        section, batch_size = self.section.square, self.section.batch_size
        positions = self.chosen(section.images, "square", pgd.positions)
        predicted = self.clean[positions].copy()
        left = np.flatnonzero(predicted == self.labels[positions])
        for start in range(0, len(left), batch_size):
            some = left[start : start + batch_size]
            target = self.target.of(positions[some])
            attacked = square(
                self.logits,
                target.images,
                target.labels,
                section.epsilon_255,
                section.queries,
                target.indices,
                self.section.seed,
            )
            predicted[some] = predict(self.logits, attacked, batch_size)
        white = pgd.predictions[section.epsilon_255][np.searchsorted(pgd.positions, positions)]
        right = self.target.of(positions).right
        names = ("square_stronger", "Square, without gradients,", "PGD")
        found = {section.epsilon_255: predicted}
        self.watch(alarms.stronger(*names, right(found), right({section.epsilon_255: white})))
        return Found(positions, found, {"queries": section.queries})

    def neighbours(
        self, model: Classifier, signs: Tensor, positions: np.ndarray, known: tuple[np.ndarray, np.ndarray], count: int
    ) -> Found:
        """What `count` nearest neighbours say of images that their soft stand-in was attacked with.

        `known` are features M×512 and labels M that neighbours are sought among; `signs` are of the classifier's own
        gradient, which must not serve better against the neighbours, nor may the gradient of a softer stand-in.
        """
        target = self.target.of(positions)
        reference, labels = (torch.from_numpy(array).to(self.device) for array in known)
        stand_in = SoftNeighbours(model, reference, labels.long(), self.section.neighbours_temperature)

        def under(signs: Tensor, epsilons_255: list[int]) -> ByEpsilon:
            moved = {epsilon: step(target.images, signs, epsilon) for epsilon in epsilons_255}
            return {
                epsilon: knn_predictions(*known, features_of(model, images, self.section.batch_size), count)
                for epsilon, images in moved.items()
            }

        own, said = self.signs_of(stand_in, target)
        self.watch(alarms.zero_gradients(without_gradient(own), len(own), "knn_masked", "of the neighbours' stand-in"))
        found = under(own, self.section.epsilons_255)
        others = {
            "the classifier's gradient": signs[torch.from_numpy(positions).to(self.device)],
            "the gradient of a softer stand-in": self.signs_of(rescale(stand_in, FACTORS[0]), target)[0],
        }
        for name, of_other in others.items():
            right = target.right(under(of_other, self.section.pgd.epsilons_255))
            names = ("knn_masked", name, "that of the stand-in, against the neighbours")
            self.watch(alarms.stronger(*names, right, target.right(found), alarms.MARGIN))
        agreement = float((said == found[0]).mean())
        return Found(positions, found, {"neighbours": count, "stand_in_agrees": agreement})


def without_gradient(signs: Tensor) -> int:
    """How many images have a gradient that is zero everywhere."""
    return int((signs == 0).flatten(1).all(1).sum())
