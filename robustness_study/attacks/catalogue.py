"""The list of attacks: their settings, their titles in the report, and the comparisons that raise an alarm.

An attack is three things: an entry here, a file of the same name in this folder with `run(subject, settings)`, and a
block under `attack.attacks` in params.yaml. Without the block the attack does not run. This file imports no torch,
because `check` and the report read it.

Names of results (`fgsm`, `pgd_8_bit`, …) are those in attack.json. A name that ends with `*` is a pattern: it stands
for every name that begins with the part before the `*`. The rest of the name replaces the `*` in the pattern's texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, field_validator

from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.section import Count, Section
from robustness_study.core.subsets import stratified
from robustness_study.schema.attack import Attack

NEEDS = ("run",)  # what an attack's file must define
MARGIN = 0.02  # share of images: the accuracy of ordinary models also changes a little with rescaled logits
RESCALED = "fgsm_of_logits_x"  # followed by the factor: the names of the results of `rescaled_logits`


class Settings(Section):
    """An attack's block in params.yaml. An attack without settings uses this class as it is."""

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """Settings that do not fit the other settings: the key → what is allowed there.

        `epsilons_255` are the values of `attack.epsilons_255` without 0; `blocks` are those of all attacks that run.
        """
        return {}


class RescaledLogits(Settings):
    """The factors that the logits are multiplied by."""

    factors: list[float] = Field(min_length=1)

    @field_validator("factors")
    @classmethod
    def _distinct(cls, values: list[float]) -> list[float]:
        named = {f"{value:g}" for value in values}
        if min(values) < 0.001 or max(values) > 1000 or "1" in named or len(named) < len(values):
            raise ValueError("factors must be from 0.001 to 1000, not 1, and all different, as in [0.1, 10]")
        return values


class ProjectedGradientDescent(Settings):
    """PGD attacks `images` of the attacked images. Almost none should stay correct at `large_epsilon_255`."""

    images: Count
    epsilons_255: list[int] = Field(min_length=1)
    large_epsilon_255: int = Field(ge=1, le=255)
    steps: int = Field(ge=1, le=10_000)
    restarts: int = Field(ge=1, le=1000)

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """Each epsilon must be in attack.epsilons_255, so that FGSM has the same one."""
        return rising_among("epsilons_255", self.epsilons_255, epsilons_255)


class Square(Settings):
    """Square attacks `images` of the images that PGD attacks. It queries the logits of each at most `queries` times."""

    images: Count
    epsilon_255: int = Field(ge=1, le=255)
    queries: int = Field(ge=1, le=10_000)

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """The epsilon must be one of PGD's if PGD runs, or else one of attack.epsilons_255."""
        pgd = blocks.get("pgd")
        allowed = pgd.epsilons_255 if isinstance(pgd, ProjectedGradientDescent) else epsilons_255
        if self.epsilon_255 in allowed:
            return {}
        whose = "pgd's epsilons_255" if "pgd" in blocks else "attack.epsilons_255"
        return {"epsilon_255": f"it must be one of {whose} ({allowed})"}


class NearestNeighbours(Settings):
    """`temperature` divides the stand-in's cosines. Other gradients are tried at `control_epsilons_255`."""

    temperature: float = Field(ge=0.001, le=100)
    control_epsilons_255: list[int] = Field(min_length=1)

    def faults(self, epsilons_255: list[int], blocks: Mapping[str, Settings]) -> dict[str, str]:
        """Each epsilon must be in attack.epsilons_255, so that the attack itself has the same one."""
        return rising_among("control_epsilons_255", self.control_epsilons_255, epsilons_255)


def attacked_images(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted positions of `count` of the test images, with classes in proportion. `labels`, N, are of all of them."""
    return stratified(labels, count, seed, "attack")


def rising_among(key: str, values: list[int], allowed: list[int]) -> dict[str, str]:
    """Empty if the values rise and are all in `allowed`; otherwise `key` → what is allowed."""
    if sorted(set(values)) == values and set(values) <= set(allowed):
        return {}
    return {key: f"the values must rise and be among {allowed}, which attack.epsilons_255 gives"}


@dataclass(frozen=True)
class Comparison:
    """Raises `alarm` if clearly fewer images are correct under `weak` than under `strong`, at an epsilon of both.

    It compares the images that both attacked. If one of the two is marked `only_right_images`, an image that is wrong
    without an attack counts as wrong under both.
    """

    alarm: str
    weak: str  # a result's name
    strong: str  # a result's name, without *
    called: tuple[str, str]  # what the alarm's text calls the two: "accuracy … under …"
    margin: float = 0.0  # share of images: a smaller difference raises no alarm


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


FAST_GRADIENT_SIGN = Entry(  # always runs, because the study is about it
    name="fast_gradient_sign",
    settings=Settings,
    titles={"fgsm": "FGSM", "fgsm_8_bit": "FGSM, rounded to 8 bits"},
    about="The fast gradient sign method takes one step along the signs of the gradient.",
    alarms=("zero_gradients", "not_clean_at_zero", "rises_with_epsilon"),
)

ATTACKS = (  # in the order in which they run and are reported
    Entry(
        name="random_signs",
        settings=Settings,
        titles={"noise": "random signs"},
        about="Random signs are noise of the same size: a real attack must lower accuracy further.",
        comparisons=(Comparison("noise_stronger", "noise", "fgsm", ("random signs", "FGSM")),),
    ),
    Entry(
        name="rescaled_logits",
        settings=RescaledLogits,
        titles={f"{RESCALED}*": "FGSM, by the gradient of * × the logits"},
        about="FGSM with the gradient of rescaled logits shows whether the scale of the logits makes FGSM weak.",
        comparisons=(
            Comparison(
                "rescaled_logits",
                f"{RESCALED}*",
                "fgsm",
                ("FGSM with the gradient of * × the logits", "FGSM"),
                MARGIN,
            ),
        ),
    ),
    Entry(
        name="pgd",
        settings=ProjectedGradientDescent,
        titles={"pgd": "PGD", "pgd_8_bit": "PGD, rounded to 8 bits"},
        about=(
            "PGD takes many steps from random starts. Every few steps it checks whether the prediction is wrong. It is "
            "the strongest attack here."
        ),
        must_be_equal=("steps", "looked_at_every", "restarts"),
        alarms=("pgd_leaves_some",),
        comparisons=(Comparison("pgd_weaker", "fgsm", "pgd", ("FGSM", "PGD")),),
        only_right_images=True,
    ),
    Entry(
        name="square",
        settings=Square,
        titles={"square": "Square"},
        about=(
            "Square uses logits only, so a masked gradient does not stop it. With so few queries it detects only "
            "strong masking."
        ),
        must_be_equal=("queries",),
        comparisons=(Comparison("square_stronger", "square", "pgd", ("Square, which uses no gradient,", "PGD")),),
        only_right_images=True,
    ),
    Entry(
        name="nearest_neighbours",
        settings=NearestNeighbours,
        titles={"knn_fgsm": "FGSM on the nearest neighbours"},
        about=(
            "The nearest-neighbour classifier has no gradient. A differentiable stand-in is attacked, and the real "
            "classifier is scored on the attacked images."
        ),
        must_be_equal=("neighbours",),
        alarms=("knn_masked",),
    ),
)
EVERY = (FAST_GRADIENT_SIGN, *ATTACKS)
ALARMS = tuple(
    dict.fromkeys(alarm for entry in EVERY for alarm in (*entry.alarms, *(each.alarm for each in entry.comparisons)))
)


def check_entries(entries: Sequence[Entry]) -> None:
    """Raise StudyError, in one line, if entries contradict each other. `entries` are in the order in which they run.

    Names, results and titles must occur once. A comparison must use a result of its own entry, and compare it with
    another result of the same entry or of an earlier one.
    """
    results: list[str] = []
    for what, values in (
        ("entry", [entry.name for entry in entries]),
        ("result", [result for entry in entries for result in entry.titles]),
        ("title", [title for entry in entries for title in entry.titles.values()]),
    ):
        twice = [value for value, count in Counter(values).items() if count > 1]
        if twice:
            raise _fault(f"has the {what} {twice[0]!r} twice; rename one")
    for entry in entries:
        for result in entry.titles:
            other = next((each for each in results if _stands_for(each, result) or _stands_for(result, each)), None)
            if other is not None:
                raise _fault(f"has the results {other!r} and {result!r}, which can stand for the same name; rename one")
            results.append(result)
        for comparison in entry.comparisons:
            of_both = {"weak": comparison.weak, "strong": comparison.strong}
            for key, result in of_both.items():
                if not any(_stands_for(each, result) for each in results):
                    raise _fault(
                        f"has a comparison under {entry.name} with {key} = {result!r}, which is no result of this "
                        f"entry or of an earlier one; use one of {', '.join(results)}"
                    )
            if "*" in comparison.strong:
                raise _fault(
                    f"has a comparison under {entry.name} with strong = {comparison.strong!r}; name a single result, "
                    "without *"
                )
            if not any(_stands_for(each, result) for each in entry.titles for result in of_both.values()):
                raise _fault(
                    f"has the comparison {comparison.alarm!r} under {entry.name}, which writes neither of its two "
                    "results; move it to the entry that writes one of them"
                )


def check_written(entry: Entry, written: Mapping[str, Collection[str]], raised: Collection[str]) -> None:
    """Raise StudyError, in one line, if an attack did not do what its entry says. Call it after the attack has run.

    `written` maps the name of each result to the names of its settings; `raised` names the alarms its file raised.
    """
    for result, settings in written.items():
        if not any(filled_in(pattern, pattern, result) for pattern in entry.titles):
            raise _fault(f"has no title for {result!r}, which {entry.name}.py writes; add it to `titles`")
        absent = [name for name in entry.must_be_equal if name not in settings]
        if absent:
            raise _fault(
                f"says under {entry.name} that {absent[0]} must be equal, but {entry.name}.py does not write it with "
                f"{result!r}; add it to the `settings` of this Found"
            )
    for pattern in entry.titles:
        if not any(filled_in(pattern, pattern, result) for result in written):
            raise _fault(
                f"has a title for {pattern!r} under {entry.name}, but {entry.name}.py wrote no such result; remove the "
                "title or write the result"
            )
    for alarm in raised:
        if alarm not in entry.alarms:
            raise _fault(f"does not name the alarm {alarm!r}, which {entry.name}.py raises; add it to `alarms` there")


def _fault(what: str) -> StudyError:
    return StudyError(f"robustness_study/attacks/catalogue.py {what}")


def _stands_for(pattern: str, result: str) -> bool:
    """Whether `pattern` is the name `result`, or a pattern with `*` that stands for it."""
    return pattern == result or filled_in(pattern, pattern, result) is not None


def settings_of(section: Attack) -> dict[str, Settings]:
    """The validated blocks of `attack.attacks`, by name of attack, in the catalogue's order.

    Raises StudyError, with the key, if an attack does not exist, if a block is wrong or does not fit the others, or if
    `accept` has a name that no alarm has.
    """
    names = [entry.name for entry in ATTACKS]
    for name in section.attacks:
        if name not in names:
            raise StudyError(f"params.yaml: attack.attacks.{name} is unknown; use one of {', '.join(names)}")
    for name in section.accept:
        if name not in ALARMS:
            raise StudyError(
                f"params.yaml: attack.accept has {name!r}, which is not an alarm; use names of {', '.join(ALARMS)}"
            )
    blocks = {
        entry.name: params.validated(f"attack.attacks.{entry.name}", section.attacks[entry.name], entry.settings)
        for entry in ATTACKS
        if entry.name in section.attacks
    }
    for name, block in blocks.items():
        for key, allowed in block.faults(section.sizes(), blocks).items():
            raise StudyError(f"params.yaml: attack.attacks.{name}.{key} is {getattr(block, key)!r}: {allowed}")
    return blocks


def filled_in(pattern: str, text: str, name: str) -> str | None:
    """The pattern's `text` for `name`, with the `*` filled in; None if `pattern` does not stand for `name`."""
    stem = pattern.removesuffix("*")
    if stem == pattern:
        return text if name == pattern else None
    return text.replace("*", name.removeprefix(stem)) if name.startswith(stem) and name != stem else None


def entry_of(result: str) -> Entry:
    """The entry of the attack that writes a result of this name. Raises StudyError if there is none."""
    for entry in EVERY:
        if any(filled_in(pattern, pattern, result) for pattern in entry.titles):
            return entry
    raise StudyError(
        f"attack.json has {result!r}, which no attack in robustness_study/attacks/catalogue.py writes; add its title "
        "there, or run `dvc repro`"
    )


def title(result: str) -> str:
    """The title of a result in the report. Raises StudyError if no attack writes a result of this name."""
    titles = entry_of(result).titles.items()
    return next(filter(None, (filled_in(pattern, text, result) for pattern, text in titles)))


def must_be_equal(result: str) -> tuple[str, ...]:
    """Keys of this result in attack.json that must be equal in models that are compared. Raises as `entry_of` does."""
    return (*entry_of(result).must_be_equal, "positions")
