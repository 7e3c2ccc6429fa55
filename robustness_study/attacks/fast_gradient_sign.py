"""The fast gradient sign method (FGSM): one step along the signs of the gradient.

Goodfellow et al. 2015 (arXiv 1412.6572). In: the model and its images. Out: the labels predicted at each epsilon, for
the attacked images and for the same images rounded to 8 bits.
"""

from __future__ import annotations

import numpy as np
import torch

from robustness_study.attacks import alarms
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import is_8_bit, to_8_bit
from robustness_study.attacks.settings import Settings
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.classifier.batches import in_batches


def run(subject: ModelUnderAttack, settings: Settings) -> dict[str, Found]:
    """Return the results `fgsm` and `fgsm_8_bit`: all images at every epsilon.

    To save time, the model does not see the images of epsilon 0 again, nor rounded images that rounding did not change.
    Raises StudyError if an attacked image is out of bounds.
    """
    target, everyone = subject.target, np.arange(len(subject.labels))
    gradient = subject.gradient
    zero, random = gradient.zero(), random_logits(subject)
    subject.watch(alarms.zero_gradients(zero, len(everyone)))
    subject.watch(alarms.random_logits(random, len(subject.control)))
    exact, rounded = {}, {}
    for epsilon in subject.common.epsilons_255:
        attacked = step(target.images, gradient.signs, epsilon)
        exact[epsilon] = subject.predict(attacked) if epsilon > 0 else gradient.predicted
        rounded[epsilon] = exact[epsilon] if is_8_bit(attacked) else subject.predict(to_8_bit(attacked))
    subject.watch(alarms.not_clean_at_zero(int((exact[0] != subject.clean).sum()), len(subject.clean)))
    chance = np.bincount(subject.labels).max() / len(subject.labels)  # when always predicting the commonest class
    subject.watch(alarms.rises_with_epsilon(target.correct(exact), chance))
    measured = {"zero_gradients": zero, "random_logits": random}
    return {"fgsm": Found(everyone, exact, measured=measured), "fgsm_8_bit": Found(everyone, rounded)}


def random_logits(subject: ModelUnderAttack) -> int:
    """The number of control images whose logits differ when they are computed twice, by more than rounding explains."""
    target = subject.target.of(subject.control)
    once, again = (
        in_batches(torch.no_grad()(subject.logits), subject.common.batch_size, target.images) for _ in range(2)
    )
    return int(((once - again).abs().amax(1) > alarms.MOST_RANDOM * once.abs().amax(1)).sum())
