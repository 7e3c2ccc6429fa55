"""Tests the conclusions of the two studies.

A conclusion is tested on differences between the studies' own losses and training sets. The p-values of these
differences are adjusted (Holm) as one family. So adding another loss changes no answer. With one seed, no conclusion
is tested.
"""

from __future__ import annotations

from dataclasses import dataclass

from robustness_study.results.differences import Difference, as_family

CLAIMED_OF = {"cross_entropy", "angular", "clean", "corrupted"}  # the studies' losses and training sets


@dataclass(frozen=True)
class Claim:
    """A conclusion of the two studies: the loss or training set `better` beats `worse` on the metrics `metrics`."""

    text: str
    better: str
    worse: str
    metrics: tuple[str, ...]

    def is_answered_by(self, difference: Difference) -> bool:
        """Whether a difference compares these two, on one of these metrics."""
        differ = set(difference.model) ^ set(difference.other)
        return difference.metric in self.metrics and differ == {self.better, self.worse}


CLAIMS = (
    Claim(
        "Training on corrupted images makes a model robust to those corruptions",
        better="corrupted",
        worse="clean",
        metrics=("test_corrupted",),
    ),
    Claim(
        "Training on corrupted images makes a model generalise better, to clean images and to other corruptions",
        better="corrupted",
        worse="clean",
        metrics=("test_clean", "suite_unseen_mean"),
    ),
    Claim(
        "The angular loss beats cross-entropy",
        better="angular",
        worse="cross_entropy",
        metrics=("test_clean", "test_corrupted"),
    ),
)


@dataclass(frozen=True)
class Conclusion:
    """A claim of the two studies and the differences that test it."""

    claim: str
    differences: list[Difference]

    def verdict(self) -> str:
        """The verdict in words; "not distinguishable" if no difference can be distinguished from chance."""
        if any(difference.p_holm is None for difference in self.differences):
            return "not tested: one seed"
        signs = [difference.sign() for difference in self.differences]
        up, down, of = signs.count(1), signs.count(-1), len(signs)
        if up and down:
            return f"supported in {up} of {of}, contradicted in {down}"
        if up or down:
            word, count = ("supported", up) if up else ("contradicted", down)
            return word if count == of else f"{word} in {count} of {of}, not distinguishable in the rest"
        return "not distinguishable"


def conclusions(found: list[Difference]) -> list[Conclusion]:
    """The studies' conclusions. Conclusions about models that this study does not have are left out."""
    of_studies = [difference for difference in found if {*difference.model, *difference.other} <= CLAIMED_OF]
    family = as_family([each for each in of_studies if any(claim.is_answered_by(each) for claim in CLAIMS)])
    concluded = []
    for claim in CLAIMS:
        of_claim = [each.towards(claim.better) for each in family if claim.is_answered_by(each)]
        concluded += [Conclusion(claim.text, of_claim)] if of_claim else []
    return concluded
