"""The fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572): one step along the gradient's signs.

In: the model and its images. Out: the labels predicted at each epsilon, for the attacked images and for the same images
rounded to 8 bits.
"""

from __future__ import annotations

import numpy as np

from robustness_study.attacks import alarms
from robustness_study.attacks.catalogue import Settings
from robustness_study.attacks.scoring import Found, is_8_bit, to_8_bit
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import ModelUnderAttack


def run(subject: ModelUnderAttack, settings: Settings) -> dict[str, Found]:
    """`fgsm` and `fgsm_8_bit`, on all images and at every epsilon. Raises StudyError if a moved image is out of bounds.

    The images of epsilon 0, and those that are of 8 bits anyway, are not given to the model a second time.
    """
    target, everyone = subject.target, np.arange(len(subject.labels))
    gradient = subject.gradient
    zero = gradient.zero()
    subject.watch(alarms.zero_gradients(zero, len(everyone)))
    exact, rounded = {}, {}
    for epsilon in subject.common.epsilons_255:
        attacked = step(target.images, gradient.signs, epsilon)
        exact[epsilon] = subject.predict(attacked) if epsilon > 0 else gradient.predicted
        rounded[epsilon] = exact[epsilon] if is_8_bit(attacked) else subject.predict(to_8_bit(attacked))
    subject.watch(alarms.not_clean_at_zero(int((exact[0] != subject.clean).sum()), len(subject.clean)))
    chance = np.bincount(subject.labels).max() / len(subject.labels)  # of always saying the commonest class
    subject.watch(alarms.rises_with_epsilon(target.right(exact), chance))
    return {"fgsm": Found(everyone, exact, measured={"zero_gradients": zero}), "fgsm_8_bit": Found(everyone, rounded)}
