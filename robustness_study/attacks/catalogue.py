"""The list of attacks: their titles in the report, and the comparisons that raise an alarm.

An attack is three things: an entry here, a file of the same name in this folder with `run(subject, settings)`, and a
block under `attack.attacks` in params.yaml. Without the block the attack does not run. settings.py has the settings,
entry.py says what an entry has. This file imports no torch, because `check` and the report read it.
"""

from __future__ import annotations

import numpy as np

from robustness_study.attacks.entry import Comparison, Entry, filled_in
from robustness_study.attacks.settings import (
    AutoPGD,
    NearestNeighbours,
    ProjectedGradientDescent,
    RescaledLogits,
    Settings,
    Square,
)
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.core.subsets import TEST_IMAGES, stratified
from robustness_study.schema.attack import Attack

NEEDS = ("run",)  # what an attack's file must define
MARGIN = 0.02  # share of images: the accuracy of ordinary models also changes a little with rescaled logits
A_POINT = 0.01  # share of images: what a stronger control may gain (Croce & Hein 2020, arXiv 2003.01690)
DISAGREE = 0.05  # share of images: two random starts of the same search may differ in so many
RESCALED = "fgsm_of_logits_x"  # followed by the factor: the names of the results of `rescaled_logits`
RESCALED_APGD = "apgd_ce_of_logits_x"


def attacked_images(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted positions of `count` of the test images, with classes in proportion. `labels`, N, are of all of them."""
    return stratified(labels, count, seed, TEST_IMAGES)


FAST_GRADIENT_SIGN = Entry(  # always runs, because the study is about it
    name="fast_gradient_sign",
    settings=Settings,
    titles={"fgsm": "FGSM", "fgsm_8_bit": "FGSM, rounded to 8 bits"},
    about="The fast gradient sign method takes one step along the signs of the gradient.",
    alarms=("zero_gradients", "random_logits", "not_clean_at_zero", "rises_with_epsilon"),
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
        name="pgd",
        settings=ProjectedGradientDescent,
        titles={"pgd": "PGD", "pgd_8_bit": "PGD, rounded to 8 bits"},
        about="PGD takes many steps of one size from random starts, and looks every few steps.",
        must_be_equal=("steps", "looked_at_every", "restarts"),
        alarms=("pgd_leaves_some",),
        comparisons=(Comparison("pgd_weaker", "fgsm", "pgd", ("FGSM", "PGD")),),
        only_right_images=True,
    ),
    Entry(
        name="apgd",
        settings=AutoPGD,
        titles={
            "apgd_ce": "APGD, cross-entropy",
            "apgd": "APGD, cross-entropy and targeted",
            "apgd_ce_second_start": "APGD, cross-entropy, another random start",
            "apgd_longer": "APGD, then again with five times the steps",
        },
        about=(
            "APGD (Auto-PGD) chooses its step sizes by itself. It raises the cross-entropy first. Images that stay "
            "correct are then pushed towards their likeliest wrong classes. It is the strongest single attack here."
        ),
        must_be_equal=("steps", "targets", "restarts"),
        comparisons=(
            Comparison("apgd_weaker", "pgd", "apgd", ("PGD", "APGD")),
            Comparison(
                "starts_disagree",
                "apgd_ce_second_start",
                "apgd_ce",
                ("APGD (cross-entropy) from another random start", "APGD (cross-entropy)"),
                DISAGREE,
                "disagree",
            ),
            Comparison(
                "more_steps", "apgd_longer", "apgd", ("APGD with five times the steps", "APGD"), A_POINT, "fewer"
            ),
        ),
        only_right_images=True,
        goes_on_from={"apgd": "apgd_ce", "apgd_longer": "apgd"},
    ),
    Entry(
        name="rescaled_logits",
        settings=RescaledLogits,
        titles={
            f"{RESCALED}*": "FGSM, by the gradient of * × the logits",
            f"{RESCALED_APGD}*": "APGD, cross-entropy of * × the logits",
        },
        about=(
            "FGSM and APGD (cross-entropy) with the gradient of rescaled logits show whether the scale of the logits "
            "makes these attacks weak."
        ),
        comparisons=(
            Comparison(
                "rescaled_logits",
                f"{RESCALED}*",
                "fgsm",
                ("FGSM with the gradient of * × the logits", "FGSM"),
                MARGIN,
            ),
            Comparison(
                "rescaled_logits_apgd",
                f"{RESCALED_APGD}*",
                "apgd_ce",
                ("APGD with the cross-entropy of * × the logits", "APGD with the cross-entropy"),
                MARGIN,
            ),
        ),
        only_after={f"{RESCALED_APGD}*": "apgd_ce"},
    ),
    Entry(
        name="square",
        settings=Square,
        titles={"square": "Square, after APGD"},
        about=(
            "Square uses logits only, so a masked gradient does not stop it. It tries the images that stay correct "
            "under APGD; its accuracy is that under both attacks."
        ),
        must_be_equal=("queries",),
        comparisons=(
            Comparison(
                "square_stronger", "square", "apgd", ("Square, which uses no gradient,", "APGD"), A_POINT, "fewer"
            ),
        ),
        only_right_images=True,
        goes_on_from={"square": "apgd"},
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
        of_the_model=False,
    ),
)
WORST_CASE = Entry(  # of the results above, so it has no file; only where APGD ran
    name="worst_case",
    settings=Settings,
    titles={"worst_case": "worst case of all attacks"},
    about=(
        "The worst case counts an image as correct only if it stays correct under every attack that it was given to, "
        "at this ε and all smaller ones. The accuracy in the worst case is the robust accuracy: compare models by it."
    ),
    comparisons=(
        Comparison(
            "worst_case_stronger",
            "worst_case",
            "apgd",
            ("all attacks together", "APGD alone"),
            A_POINT,
            "fewer",
            on_images_of_all=True,
        ),
    ),
    only_right_images=True,
)
RUN = (FAST_GRADIENT_SIGN, *ATTACKS)
EVERY = (*RUN, WORST_CASE)
OF_TRAINING = "catastrophic_overfitting"  # the alarm that no attack raises: the training curves do
OF_ATTACKS = (alarm for entry in EVERY for alarm in (*entry.alarms, *(each.alarm for each in entry.comparisons)))
ALARMS = tuple(dict.fromkeys((*OF_ATTACKS, OF_TRAINING)))


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
