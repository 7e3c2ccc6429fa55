"""Alarms: signs that an attack failed, so that its results overstate robustness.

The rules follow Carlini et al. 2019 (arXiv 1902.06705). Most rules get two arrays, bool N: which images the model
classifies correctly under two conditions. They return an `Alarm` or None. McNemar's exact test on the same images
decides whether clearly fewer images are correct. It also holds for few images. This file imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from robustness_study.attacks.catalogue import ALARMS, OF_TRAINING
from robustness_study.attacks.entry import RULES
from robustness_study.core.errors import StudyError
from robustness_study.statistics import mcnemar, wilson_interval

MOST_ZERO_GRADIENTS = 0.01  # share of images; Athalye et al. 2018 (arXiv 1802.00420)
MOST_LEFT = 0.02  # share of images that may stay correct under an attack that nothing should survive
MOST_RANDOM = 1e-3  # of the largest logit: rounding changes a logit by less when it is computed again
FEW = 2  # images: as few as these show nothing, however few there are in all
MOST_DIFFERENT = 0.001  # share of images; two logits that differ by rounding only can swap when the batch changes
SMALLEST_COLLAPSE = 0.10  # share of images: three standard errors of an accuracy of 0.3 on 200 images
LEVEL = 0.05  # significance level of McNemar's test
NAMES = (*ALARMS, "transfer_stronger")  # attacks/transfer.py raises the last one


@dataclass(frozen=True)
class Alarm:
    """A reason not to trust the results. `name` is what `accept` in params.yaml lists to keep them all the same."""

    name: str
    reason: str

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise StudyError(
                f"{self.name} is not the name of an alarm; add it to `alarms` of its entry in attacks/catalogue.py"
            )


def clearly_fewer(correct: np.ndarray, others: np.ndarray, margin: float = 0.0, tests: int = 1) -> bool:
    """Whether clearly fewer images are correct in `correct` than in `others`, bool N each, on the same images.

    The accuracy must be lower by more than `margin`, and McNemar's test must reject equality. `tests` is the number of
    tests of which any one raises the alarm: the level is divided by it (Bonferroni).
    """
    return bool(others.mean() - correct.mean() > margin and mcnemar(correct, others) < LEVEL / tests)


def zero_gradients(zero: int, images: int, name: str = "zero_gradients", of: str = "of the model") -> Alarm | None:
    """Alarm if more than 1 % of the images have a gradient that is zero everywhere. `of` says whose gradient it is."""
    if zero <= MOST_ZERO_GRADIENTS * images:
        return None
    return Alarm(
        name,
        f"the input gradient {of} is zero for {zero} of {images} images, so an attack cannot use it at any epsilon and "
        "robust accuracy is overstated. Lower the scale of the logits",
    )


def random_logits(random: int, images: int) -> Alarm | None:
    """Alarm if the logits of any image changed when they were computed a second time, as with dropout left on."""
    if not random:
        return None
    return Alarm(
        "random_logits",
        f"the logits of {random} of {images} images changed when they were computed a second time. An attack then "
        "follows gradients of another model than the one that is scored, so robust accuracy is overstated. Turn off "
        "what is random in the model",
    )


def not_clean_at_zero(differ: int, images: int) -> Alarm | None:
    """Alarm if predictions at epsilon 0 differ from those of the stage `evaluate` for more than 0.1 % of the images."""
    if differ <= MOST_DIFFERENT * images:
        return None
    return Alarm(
        "not_clean_at_zero",
        f"{differ} of {images} predictions at epsilon 0 differ from those of the stage evaluate. No pixel changes at "
        "epsilon 0, so the two stages did not compute the same thing and no accuracy under attack can be trusted",
    )


def rises_with_epsilon(ladder: dict[int, np.ndarray], chance: float) -> Alarm | None:
    """Alarm if clearly more images are correct at a larger epsilon of FGSM than at a smaller one.

    `ladder` maps epsilon in units of 1/255, rising, to which images are correct, bool N. The accuracy at the smaller
    epsilon must be clearly above `chance`, in [0, 1]: the lower end of its 95 % interval decides.
    """
    for (low, before), (high, after) in combinations(ladder.items(), 2):
        above_chance = wilson_interval(float(before.mean()), len(before))[0] > chance
        if above_chance and clearly_fewer(before, after):
            return Alarm(
                "rises_with_epsilon",
                f"under FGSM, accuracy rises from {before.mean():.3f} at epsilon {low}/255 to {after.mean():.3f} at "
                f"epsilon {high}/255 ({len(after)} images). A larger epsilon should not raise it, so the attack failed "
                "and robust accuracy is overstated",
            )
    return None


def fewer(correct: np.ndarray, others: np.ndarray, margin: float = 0.0) -> bool:
    """Whether the accuracy is lower by more than `margin`, without a test: for an attack that starts where one ended.

    What it finds, the other attack missed; chance has no part in it. With a margin, two images are always within it.
    """
    most = max(margin * len(correct), FEW) if margin else 0
    return bool(int(others.sum()) - int(correct.sum()) > most)  # in counts, so no rounding decides


def disagree(correct: np.ndarray, others: np.ndarray, margin: float = 0.0) -> bool:
    """Whether more than `margin` of the images are correct in one of the two only."""
    return bool((correct != others).sum() > margin * len(correct))


JUDGED_BY = dict(zip(RULES, (clearly_fewer, fewer, disagree), strict=True))


def stronger(
    name: str,
    weak: str,
    strong: str,
    weak_correct: dict[int, np.ndarray],
    strong_correct: dict[int, np.ndarray],
    margin: float = 0.0,
    rule: str = "clearly_fewer",
    tests: int = 1,
) -> Alarm | None:
    """Alarm if two attacks differ as the rule says, at any epsilon: the one that should be weak is the stronger one.

    `weak` and `strong` say in words what the two attacks are. The other two dictionaries map epsilon in units of 1/255
    to which images are correct, bool N. The reason names the epsilon with the largest difference. `tests` is what
    `clearly_fewer` gets; the other rules test nothing.
    """
    judged = partial(clearly_fewer, tests=tests) if rule == "clearly_fewer" else JUDGED_BY[rule]
    differences = {
        epsilon_255: (strong_correct[epsilon_255] != correct).mean()
        if rule == "disagree"
        else strong_correct[epsilon_255].mean() - correct.mean()
        for epsilon_255, correct in weak_correct.items()
        if judged(correct, strong_correct[epsilon_255], margin)
    }
    if not differences:
        return None
    worst = max(differences, key=differences.__getitem__)
    correct, others = weak_correct[worst], strong_correct[worst]
    accuracies = (
        f"accuracy at epsilon {worst}/255 is {correct.mean():.3f} under {weak} but {others.mean():.3f} under {strong} "
        f"({len(correct)} images)"
    )
    if rule == "disagree":
        return Alarm(
            name,
            f"{accuracies}, and the two disagree on {(correct != others).sum()} images, so each of them misses errors "
            "and overstates robustness. Raise attack.attacks.apgd.restarts",
        )
    return Alarm(name, f"{accuracies}, so the second value overstates robustness")


def catastrophic_overfitting(watched: Sequence[float]) -> Alarm | None:
    """Alarm if adversarial training has lost its robustness at its end (Wong et al. 2020, arXiv 2001.03994).

    `watched` are the accuracies, in [0, 1], under PGD after each epoch; empty for other trainings. A collapse: the last
    is below half of the best, and lower by more than 0.10. One that recovered until the end is none.
    """
    best, last = max(watched, default=0.0), watched[-1] if watched else 0.0
    if last >= best / 2 or best - last <= SMALLEST_COLLAPSE:
        return None
    return Alarm(
        OF_TRAINING,
        f"accuracy under PGD on validation images was {best:.3f} after epoch {watched.index(best) + 1} of training but "
        f"{last:.3f} at its end, so the model lost the robustness that it was trained for and is no positive control. "
        "In its block under train_set_config, raise noise or lower step",
    )


def some_left(correct: np.ndarray, epsilon_255: int) -> Alarm | None:
    """Alarm if more than 2 % of the images stay correct under PGD with an epsilon that nothing should survive.

    `correct` says which images are correct, bool N.
    """
    if correct.mean() <= MOST_LEFT:
        return None
    return Alarm(
        "pgd_leaves_some",
        f"under PGD at epsilon {epsilon_255}/255, accuracy is still {correct.mean():.3f} ({len(correct)} images). It "
        "should be almost 0, so robust accuracy is overstated. If the classes differ by more than this epsilon, raise "
        "attack.attacks.pgd.large_epsilon_255",
    )


def accepted(alarms: Iterable[Alarm], accept: Iterable[str], stage: str = "attack") -> list[Alarm]:
    """Return all alarms, if every one of them is accepted by name.

    Raises StudyError, with the reasons of all alarms that are not accepted.
    """
    raised = list(alarms)
    refused = [alarm for alarm in raised if alarm.name not in set(accept)]
    if refused:
        reasons = "; ".join(f"{alarm.name}: {alarm.reason}" for alarm in refused)
        names = ", ".join(dict.fromkeys(alarm.name for alarm in refused))
        raise StudyError(
            f"{stage}: the results cannot be trusted ({reasons}); change the model, or keep the results with a "
            f"warning in the report: in params.yaml, add to {stage}.accept: [{names}]"
        )
    return raised


def by_name(alarms: Iterable[Alarm]) -> dict[str, str]:
    """The reasons, by alarm name, for JSON. If an alarm was raised several times, its reasons are joined by "; "."""
    found: dict[str, str] = {}
    for alarm in alarms:
        found[alarm.name] = "; ".join(filter(None, [found.get(alarm.name), alarm.reason]))
    return found
