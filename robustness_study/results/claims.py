"""The claims that the study tests, one contrast for each, with the direction that the two studies claimed.

The list was written before the study was made anew, on the official images of CIFAR-10. An earlier study had three
seeds (0, 1, 2) and JPEG copies of the images. What was seen there is exploratory: it helped to plan this study, and it
decides nothing here. The tests of these claims are confirmatory. Every other difference in the report is descriptive.
Change the list only before a study is run: a claim that is chosen after its result was seen looks surer than it is.

A claim about a training set is about the mean over both losses, and a claim about a loss is about the mean over both
training sets. The loss has a claim on clean images and one on corrupted images, not one on their mean. A loss may gain
on the ones and lose on the others, and a mean would hide that. The claims about robust accuracy extend the
studies' claims in the same direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

Name = tuple[str, str]  # loss, training set

LOSSES = ("cross_entropy", "angular")  # those of the two studies
TRAIN_SETS = ("clean", "corrupted")


@dataclass(frozen=True)
class Claim:
    """The loss or training set `better` has a higher `metric` than `worse`, on average over `over`."""

    text: str
    better: str
    worse: str
    over: tuple[str, ...]
    metric: str

    def weights(self) -> dict[Name, float]:
        """The weight of each model in the contrast: `better` minus `worse`, mean over `over`."""
        signs = ((self.better, 1.0), (self.worse, -1.0))
        share = 1.0 / len(self.over)
        if self.better in LOSSES:
            return {(loss, train_set): sign * share for (loss, sign), train_set in product(signs, self.over)}
        return {(loss, train_set): sign * share for (train_set, sign), loss in product(signs, self.over)}

    def contrast(self) -> str:
        """What is subtracted from what, in words."""
        if self.better in LOSSES:
            return f"{self.better} − {self.worse}, mean over training on {' and on '.join(self.over)}"
        return f"trained on {self.better} − trained on {self.worse}, mean over {' and '.join(self.over)}"


def _of_training(text: str, metric: str) -> Claim:
    return Claim(text, better="corrupted", worse="clean", over=LOSSES, metric=metric)


def _of_loss(text: str, metric: str) -> Claim:
    return Claim(text, better="angular", worse="cross_entropy", over=TRAIN_SETS, metric=metric)


CLAIMS = (
    _of_training(
        "Training on corrupted images raises the accuracy on images with the same corruption", "test_corrupted"
    ),
    _of_training("Training on corrupted images raises the accuracy on clean images", "test_clean"),
    _of_training(
        "Training on corrupted images raises the accuracy under corruptions that are unlike training",
        "suite_unseen_mean",
    ),
    _of_training(
        "Training on corrupted images raises the robust accuracy (worst case over all attacks, ε = 2/255)", "robust_2"
    ),
    _of_loss("The angular loss has a higher accuracy than cross-entropy on clean images", "test_clean"),
    _of_loss("The angular loss has a higher accuracy than cross-entropy on corrupted images", "test_corrupted"),
    _of_loss(
        "The angular loss has a higher robust accuracy than cross-entropy (worst case over all attacks, ε = 2/255)",
        "robust_2",
    ),
)
