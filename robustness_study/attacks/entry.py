"""What the catalogue says of an attack: its settings, its results with their titles, and its comparisons with others.

Names of results (`fgsm`, `pgd_8_bit`, …) are those in attack.json. A name that ends with `*` is a pattern: it stands
for every name that begins with the part before the `*`. The rest of the name replaces the `*` in the pattern's texts.
This file imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from robustness_study.attacks.settings import Settings

RULES = ("clearly_fewer", "fewer", "disagree")  # of a comparison; alarms.py has a function for each


@dataclass(frozen=True)
class Comparison:
    """Raises `alarm` if two results on the same images differ as `rule` says, at an epsilon of both.

    The rules are those of alarms.py: "clearly_fewer" images are correct under `weak` (by more than `margin`, and by
    McNemar's test), "fewer" are (by more than `margin`), or the two "disagree" (on more than `margin` of the images).
    If one of the two is marked `only_right_images`, an image that is wrong without an attack counts as wrong under
    both.
    """

    alarm: str
    weak: str  # a result's name
    strong: str  # a result's name, without *
    called: tuple[str, str]  # what the alarm's text calls the two: "accuracy … under …"
    margin: float = 0.0  # share of images: a smaller difference raises no alarm
    rule: str = "clearly_fewer"
    on_images_of_all: bool = False  # only on images that every attack on the model had


@dataclass(frozen=True)
class Entry:
    """One attack of the catalogue."""

    name: str  # of its file and of its block in params.yaml
    settings: type[Settings]
    titles: Mapping[str, str]  # the results it writes: name → title in the report
    about: str  # one or two sentences for the report
    must_be_equal: tuple[str, ...] = ()  # settings in attack.json that must be equal in models that are compared
    alarms: tuple[str, ...] = ()  # names of the alarms that its file raises
    comparisons: tuple[Comparison, ...] = ()  # with results of earlier entries; these raise alarms as well
    only_right_images: bool = False  # images that are wrong without an attack are not attacked, and count as wrong
    only_after: Mapping[str, str] = field(default_factory=dict)  # one of the `titles` → the earlier result it needs
    goes_on_from: Mapping[str, str] = field(default_factory=dict)  # result → the one that it starts from: what is wrong
    # there stays wrong
    of_the_model: bool = True  # False: it attacks another classifier, so it does not count for the worst case


def filled_in(pattern: str, text: str, name: str) -> str | None:
    """The pattern's `text` for `name`, with the `*` filled in; None if `pattern` does not stand for `name`."""
    stem = pattern.removesuffix("*")
    if stem == pattern:
        return text if name == pattern else None
    return text.replace("*", name.removeprefix(stem)) if name.startswith(stem) and name != stem else None


def stands_for(pattern: str, result: str) -> bool:
    """Whether `pattern` is the name `result`, or a pattern with `*` that stands for it."""
    return pattern == result or filled_in(pattern, pattern, result) is not None
