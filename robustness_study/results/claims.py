"""The claims that a study tests, one contrast for each, in families. Each family is adjusted for its number of claims.

`CLAIMS` is the family of the two published studies, with the directions that they claimed. The list was written before
the study was made anew, on the official images of CIFAR-10. An earlier study had three seeds (0, 1, 2) and JPEG copies
of the images. What was seen there is exploratory: it helped to plan this study, and it decides nothing here. The tests
of these claims are confirmatory. Change the list only before a study is run: a claim that is chosen after its result
was seen looks surer than it is.

Every other loss and training set in params is an idea, and has a family of its own (`of_loss`, `of_training_set`). So
an idea changes no answer to the studies, and the list is the same for every idea: nobody chooses it afterwards.

A claim about a training set is about the mean over the losses, and a claim about a loss is about the mean over the
training sets. The loss has a claim on clean images and one on corrupted images, not one on their mean. A loss may gain
on the ones and lose on the others, and a mean would hide that. The claims about robust accuracy extend the
studies' claims in the same direction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Name = tuple[str, str]  # loss, training set

LOSSES = ("cross_entropy", "angular")  # those of the two studies; ideas are compared with the first
TRAIN_SETS = ("clean", "corrupted")
STUDIES = "the two studies"  # the title of their family


@dataclass(frozen=True)
class Claim:
    """The loss or training set `better` has a higher `metric` than `worse`, on average over `over`."""

    text: str
    about: Literal["loss", "training set"]
    better: str
    worse: str
    over: tuple[str, ...]
    metric: str

    def sides(self) -> tuple[list[Name], list[Name]]:
        """The models on either side of the difference: those that the claim says are better, then the others."""
        if self.about == "loss":
            better, worse = ([(loss, train_set) for train_set in self.over] for loss in (self.better, self.worse))
        else:
            better, worse = ([(loss, train_set) for loss in self.over] for train_set in (self.better, self.worse))
        return better, worse

    def weights(self) -> dict[Name, float]:
        """The weight of each model in the difference: the mean of one side minus the mean of the other."""
        return {name: sign / len(side) for side, sign in zip(self.sides(), (1.0, -1.0), strict=True) for name in side}

    def contrast(self) -> str:
        """What is subtracted from what, in words."""
        mean = "mean over " if len(self.over) > 1 else ""  # of one there is no mean
        if self.about == "loss":
            return f"{self.better} − {self.worse}, {mean}training on {' and on '.join(self.over)}"
        return f"trained on {self.better} − trained on {self.worse}, {mean}{' and '.join(self.over)}"


def of_loss(loss: str, train_sets: Sequence[str]) -> tuple[Claim, ...]:
    """The claims about a loss, compared with cross-entropy, on average over training sets."""
    texts = {
        "test_clean": f"The {loss} loss has a higher accuracy than cross-entropy on clean images",
        "test_corrupted": f"The {loss} loss has a higher accuracy than cross-entropy on corrupted images",
        "robust_2": f"The {loss} loss has a higher robust accuracy than cross-entropy (worst case over all attacks, "
        "ε = 2/255)",
    }
    return tuple(Claim(text, "loss", loss, LOSSES[0], tuple(train_sets), metric) for metric, text in texts.items())


def of_training_set(train_set: str, losses: Sequence[str]) -> tuple[Claim, ...]:
    """The claims about a training set, compared with clean images, on average over losses."""
    texts = {
        "test_corrupted": f"Training on {train_set} images raises the accuracy on images with the same corruption"
        if train_set == TRAIN_SETS[1]
        else f"Training on {train_set} images raises the accuracy on corrupted images",
        "test_clean": f"Training on {train_set} images raises the accuracy on clean images",
        "suite_unseen_mean": f"Training on {train_set} images raises the accuracy under corruptions that are unlike "
        "training",
        "robust_2": f"Training on {train_set} images raises the robust accuracy (worst case over all attacks, "
        "ε = 2/255)",
    }
    return tuple(
        Claim(text, "training set", train_set, TRAIN_SETS[0], tuple(losses), metric) for metric, text in texts.items()
    )


CLAIMS = of_training_set(TRAIN_SETS[1], LOSSES) + of_loss(LOSSES[1], TRAIN_SETS)


def families(losses: Sequence[str], train_sets: Sequence[str]) -> dict[str, tuple[Claim, ...]]:
    """Title → claims: those of the two studies, then those of each other loss and training set, in the order of params.

    `train_sets` are those that are compared, so without controls. Claims about an idea are means over those of the two
    studies' losses, or training sets, that are here, so no idea changes what is said of another. If none of them is
    here, they are means over all.
    """
    usual_losses = [loss for loss in losses if loss in LOSSES] or losses
    usual_sets = [name for name in train_sets if name in TRAIN_SETS] or train_sets
    return {
        STUDIES: CLAIMS,
        **{f"the loss {loss}": of_loss(loss, usual_sets) for loss in losses if loss not in LOSSES},
        **{f"training on {name}": of_training_set(name, usual_losses) for name in train_sets if name not in TRAIN_SETS},
    }
