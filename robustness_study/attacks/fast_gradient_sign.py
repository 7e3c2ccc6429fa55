"""The fast gradient sign method (FGSM): one step along the signs of the gradient.

Goodfellow et al. 2015 (arXiv 1412.6572). In: the model and its images. Out: the labels predicted at each epsilon, for
the attacked images and for the same images rounded to 8 bits.
"""

from __future__ import annotations

import numpy as np

from robustness_study.attacks import alarms
from robustness_study.attacks.catalogue import Settings
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import is_8_bit, to_8_bit
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import ModelUnderAttack


def run(subject: ModelUnderAttack, settings: Settings) -> dict[str, Found]:
    """Return the results `fgsm` and `fgsm_8_bit`: all images at every epsilon.

    To save time, the model does not see the images of epsilon 0 again, nor rounded images that rounding did not change.
    Raises StudyError if an attacked image is out of bounds.
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
    chance = np.bincount(subject.labels).max() / len(subject.labels)  # when always predicting the commonest class
    subject.watch(alarms.rises_with_epsilon(target.correct(exact), chance))
    return {"fgsm": Found(everyone, exact, measured={"zero_gradients": zero}), "fgsm_8_bit": Found(everyone, rounded)}
