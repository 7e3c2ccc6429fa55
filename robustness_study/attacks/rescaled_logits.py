"""Attacks with the gradient of rescaled logits: a test whether the scale of the logits hides the gradient.

Carlini & Wagner 2017 (arXiv 1608.04644). Logits times a factor predict the same labels, but their softmax differs, and
so does the gradient of the cross-entropy. If an attack becomes clearly stronger by this, the same attack on the
unchanged logits overstates robustness.
"""

from __future__ import annotations

import numpy as np

from robustness_study.attacks.apgd import Searches, with_cross_entropy
from robustness_study.attacks.catalogue import RESCALED, RESCALED_APGD
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import rescale
from robustness_study.attacks.settings import RescaledLogits
from robustness_study.attacks.subject import ModelUnderAttack


def run(subject: ModelUnderAttack, settings: RescaledLogits) -> dict[str, Found]:
    """Return a result of FGSM for each factor, and one of APGD if APGD has run, on control images.

    APGD runs at the epsilon of its own controls. Raises StudyError if an attacked image is out of bounds.
    """
    target, found = subject.target.of(subject.control), {}
    for factor in settings.factors:
        signs = subject.gradient_of(rescale(subject.logits, factor), target).signs
        found[f"{RESCALED}{factor:g}"] = Found(subject.control, subject.along(target, signs, subject.sizes))
    if "apgd_ce" in subject.found:
        found |= {f"{RESCALED_APGD}{factor:g}": _by_apgd(subject, factor) for factor in settings.factors}
    return found


def _by_apgd(subject: ModelUnderAttack, factor: float) -> Found:
    """APGD with the cross-entropy of the logits times a factor, with the steps and restarts of APGD itself."""
    written = subject.found["apgd_ce"].settings
    positions = np.intersect1d(subject.control, subject.found["apgd_ce"].positions)
    searches = Searches(subject, positions, rescale(subject.guide, factor))
    epsilons = list(subject.found["apgd_longer"].predictions)
    clean = subject.clean[positions]
    return Found(positions, with_cross_entropy(searches, clean, epsilons, written["steps"], written["restarts"]))
