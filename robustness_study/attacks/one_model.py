"""Runs every attack on one model and checks the results.

In: a model with its images, and the settings of the attacks to run. Out: the content of attack.json, and the arrays
that the stages `transfer` and `embed` read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from robustness_study.attacks import alarms, catalogue, entry_checks, outcome
from robustness_study.attacks.entry import Entry
from robustness_study.attacks.outcome import Found
from robustness_study.attacks.scoring import Featured, Target, features_of
from robustness_study.attacks.settings import Settings
from robustness_study.attacks.signs import step
from robustness_study.attacks.subject import ModelUnderAttack
from robustness_study.classifier.batches import in_batches
from robustness_study.classifier.inference import to_float
from robustness_study.core import registry
from robustness_study.core.array_text import to_text
from robustness_study.evaluation.angles import angles_between
from robustness_study.evaluation.calibration import confidence
from robustness_study.evaluation.neighbours import compact
from robustness_study.schema.attack import HEADLINE_EPSILONS_255

PERCENTILES = (5, 25, 50, 75, 95)


def target_of(images: np.ndarray, labels: np.ndarray, count: int, seed: int, on: torch.device) -> Target:
    """`count` of the test images, uint8 N×H×W×3 with labels N, with classes in proportion; the same for every model."""
    chosen = catalogue.attacked_images(labels, count, seed)
    moved = torch.from_numpy(images[chosen]).to(on)
    return Target(to_float(moved), torch.from_numpy(labels[chosen].astype(np.int64)).to(on), chosen)


def attack(
    subject: ModelUnderAttack, blocks: Mapping[str, Settings], accept: Iterable[str], watched: Sequence[float] = ()
) -> None:
    """Run FGSM, then each attack that has a block. The results and the alarms are stored in `subject`.

    `watched` are the accuracies under PGD after each epoch of an adversarial training; it is empty for other trainings.
    Raises StudyError if an alarm is raised that `accept` does not name.
    """
    subject.watch(alarms.catastrophic_overfitting(watched))
    run_one(subject, catalogue.FAST_GRADIENT_SIGN, Settings())
    for entry in catalogue.ATTACKS:
        if entry.name in blocks:
            run_one(subject, entry, blocks[entry.name])
    keep(subject, catalogue.WORST_CASE, outcome.worst_case(subject.found, subject.labels, subject.clean))
    alarms.accepted(subject.alarms, accept)


def run_one(subject: ModelUnderAttack, entry: Entry, settings: Settings) -> dict[str, Found]:
    """Run one attack, compare it with earlier ones and print its accuracies. Store its results and return them.

    Raises StudyError if its file has a mistake, or if its results or alarms are not those that its entry names.
    """
    names, before = [each.name for each in catalogue.RUN], len(subject.alarms)
    module = registry.module("robustness_study.attacks", entry.name, names, catalogue.NEEDS)
    found: dict[str, Found] = module.run(subject, settings) or {}
    written = {name: tuple(each.settings) for name, each in found.items()}
    entry_checks.check_written(entry, written, [alarm.name for alarm in subject.alarms[before:]], subject.found)
    keep(subject, entry, found)
    return found


def keep(subject: ModelUnderAttack, entry: Entry, found: dict[str, Found]) -> None:
    """Store the results of an attack, compare them with earlier ones and print their accuracies."""
    subject.found |= found
    for alarm in outcome.compared(entry, subject.found, subject.labels, subject.clean == subject.labels):
        subject.watch(alarm)
    for name, attacked in found.items():
        labels = subject.labels[attacked.positions]
        shares = (f"{epsilon}: {(said == labels).mean():.3f}" for epsilon, said in attacked.predictions.items())
        print(f"{name:20s} {len(labels):5d} images, accuracy by epsilon (in 1/255)  {'  '.join(shares)}", flush=True)


def as_json(subject: ModelUnderAttack) -> dict[str, Any]:
    """The part of attack.json about attacks: accuracies, predictions for each image, alarms that were accepted."""
    fgsm, rounded = (subject.found[name].predictions for name in ("fgsm", "fgsm_8_bit"))
    return {
        "images": len(subject.labels),
        "ladder": outcome.summarise(fgsm, rounded, subject.labels),
        "test_indices": to_text(subject.target.indices),
        "labels": to_text(subject.labels),
        "attacks": {name: outcome.as_json(found) for name, found in subject.found.items()},
        "alarms": alarms.by_name(subject.alarms),
    }


def arrays(subject: ModelUnderAttack, model: Featured, epsilon_255: int) -> dict[str, np.ndarray]:
    """The signs of the gradient, for `transfer`; of images under FGSM, the features, N×D, for `embed`, and confidences.

    The confidences, float16 E×N, are those of the predictions at E sizes of the attack, for the report.
    """
    attacked = step(subject.target.images, subject.gradient.signs, epsilon_255)
    return {
        "test_indices": subject.target.indices.astype(np.int32),
        "signs": subject.gradient.signs.cpu().numpy(),
        "features": compact(features_of(model, attacked, subject.common.batch_size)),
        "epsilon_255": np.array(epsilon_255),
        "confidence_epsilons_255": np.array(HEADLINE_EPSILONS_255),
        "confidences": np.stack([_confidence(subject, epsilon) for epsilon in HEADLINE_EPSILONS_255]),
    }


def _confidence(subject: ModelUnderAttack, epsilon_255: int) -> np.ndarray:
    """The confidences, float16 N, of the predictions of all images under FGSM at one size."""
    attacked = step(subject.target.images, subject.gradient.signs, epsilon_255)
    return confidence(in_batches(torch.no_grad()(subject.logits), subject.common.batch_size, attacked).cpu().numpy())


def moved_degrees(before: np.ndarray, after: np.ndarray) -> dict[str, float]:
    """Percentiles of the angle, in degrees, between the features of an image `before` and `after`, both N×D."""
    angles = np.percentile(angles_between(before, after), PERCENTILES)
    return {str(percentile): round(float(angle), 2) for percentile, angle in zip(PERCENTILES, angles, strict=True)}
