"""FGSM with the gradient of rescaled logits: does their scale hide the gradient? (Carlini & Wagner 2017, 1608.04644)

Logits times a factor predict the same labels, but their softmax and so the gradient's signs are others. If that makes
the attack clearly stronger, FGSM on the logits as they are says too little.
"""

from __future__ import annotations

from robustness_study.attacks.catalogue import RESCALED, RescaledLogits
from robustness_study.attacks.scoring import Found, rescale
from robustness_study.attacks.subject import ModelUnderAttack


def run(subject: ModelUnderAttack, settings: RescaledLogits) -> dict[str, Found]:
    """A result for each factor, on the control images. Raises StudyError if a moved image is out of bounds."""
    target, found = subject.target.of(subject.control), {}
    for factor in settings.factors:
        signs = subject.gradient_of(rescale(subject.logits, factor), target).signs
        found[f"{RESCALED}{factor:g}"] = Found(subject.control, subject.along(target, signs, subject.sizes))
    return found
