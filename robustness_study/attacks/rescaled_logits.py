"""FGSM with the gradient of rescaled logits: a test whether the scale of the logits hides the gradient.

Carlini & Wagner 2017 (arXiv 1608.04644). Logits times a factor predict the same labels, but their softmax differs, and
so do the signs of the gradient. If this attack is clearly stronger, FGSM on the unchanged logits overstates robustness.
"""

from __future__ import annotations

from robustness_study.attacks.catalogue import RESCALED, RescaledLogits
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import rescale
from robustness_study.attacks.subject import ModelUnderAttack


def run(subject: ModelUnderAttack, settings: RescaledLogits) -> dict[str, Found]:
    """Return one result per factor, on the control images. Raises StudyError if an attacked image is out of bounds."""
    target, found = subject.target.of(subject.control), {}
    for factor in settings.factors:
        signs = subject.gradient_of(rescale(subject.logits, factor), target).signs
        found[f"{RESCALED}{factor:g}"] = Found(subject.control, subject.along(target, signs, subject.sizes))
    return found
