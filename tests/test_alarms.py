"""The rule of each alarm; alarms stop a stage unless params accept them by name; contradictory params."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from attacked import SECTION, changed

from robustness_study.attacks import alarms, catalogue
from robustness_study.attacks.alarms import Alarm, clearly_fewer
from robustness_study.attacks.catalogue import ALARMS, ATTACKS
from robustness_study.attacks.entry import RULES
from robustness_study.attacks.transfer import stronger_than_own
from robustness_study.core import params
from robustness_study.core.errors import StudyError
from robustness_study.schema.attack import Attack


def right(count: int, of: int = 100) -> np.ndarray:
    """Whether each image is correct: the first `count` of `of` are."""
    return np.arange(of) < count


# --- the rules ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lost", "won", "images", "clearly"),
    [
        # McNemar's exact test by hand: this many of the coins, or more, show the same side (either one)
        (4, 0, 10, False),  # 2/16
        (5, 0, 10, False),  # 2/32 = 0.0625
        (6, 0, 10, True),  # 2/64 = 0.0313
        (6, 0, 6, True),  # of every image
        (6, 0, 1000, True),  # images that are correct both times, or wrong both times, do not count
        (7, 1, 20, False),  # 2 · 9/256 = 0.0703
        (8, 1, 20, True),  # 2 · 10/512 = 0.0391
        (0, 6, 20, False),  # more are correct, not fewer
        (1, 8, 20, False),
        (0, 0, 20, False),
        (1, 0, 1, False),
    ],
)
def test_clearly_fewer_means_outside_the_paired_interval(lost: int, won: int, images: int, clearly: bool) -> None:
    order = np.random.default_rng(0).permutation(images)
    before, after = np.arange(images) < lost, (np.arange(images) >= lost) & (np.arange(images) < lost + won)
    assert clearly_fewer(after[order], before[order]) == clearly


def test_clearly_fewer_respects_the_margin() -> None:
    assert clearly_fewer(right(60), right(70), margin=0.09) and not clearly_fewer(right(60), right(70), margin=0.11)
    for lost, clearly in ((7, False), (9, True)):  # of 400; both are outside the interval
        assert clearly_fewer(right(300 - lost, 400), right(300, 400))
        assert clearly_fewer(right(300 - lost, 400), right(300, 400), catalogue.MARGIN) == clearly


def test_a_level_is_shared_by_the_tests_that_can_raise_one_alarm() -> None:
    """9 images of 125 against 1, p = 0.021: a first sight of it is an alarm, but not the best of six looks."""
    soft, other = np.arange(125) < 20, (np.arange(125) >= 9) & (np.arange(125) < 21)
    called = ("knn_masked", "another gradient", "the soft version's", {4: other}, {4: soft}, catalogue.MARGIN)
    assert alarms.stronger(*called) is not None and alarms.stronger(*called, tests=2) is not None
    assert alarms.stronger(*called, tests=3) is None  # 0.05 / 3 = 0.017
    assert clearly_fewer(other, soft, tests=2) and not clearly_fewer(other, soft, tests=3)


LADDERS: dict[str, tuple[dict[int, np.ndarray], bool]] = {
    "falls": ({0: right(90), 1: right(50), 8: right(10)}, False),
    "rises": ({0: right(90), 1: right(50), 8: right(70)}, True),
    "rises within the interval": ({0: right(90), 1: right(50), 8: right(53)}, False),
    "rises below chance": ({0: right(90), 1: right(5), 8: right(30)}, False),
    "rises from chance": ({0: right(90), 1: right(10), 8: right(30)}, False),
    "rises by less than it had fallen": ({0: right(90), 1: right(20), 2: right(70), 8: right(0)}, True),
    "rises by little at a time": ({0: right(90), 1: right(50), 2: right(54), 4: right(55), 8: right(58)}, True),
    "rises after a fall": ({0: right(90), 1: right(50), 2: right(45), 4: right(56)}, True),
    "rises from above chance, but within its interval": ({0: right(90), 1: right(15), 8: right(40)}, False),
    "rises from above chance and its interval": ({0: right(90), 1: right(16), 8: right(40)}, True),
    "rises above where it began": ({0: right(40), 1: right(36), 2: right(45), 4: right(46)}, True),
}


@pytest.mark.parametrize(("ladder", "raised"), LADDERS.values(), ids=LADDERS)
def test_alarm_where_accuracy_rises_with_epsilon(ladder: dict[int, np.ndarray], raised: bool) -> None:
    found = alarms.rises_with_epsilon(ladder, chance=0.1)
    assert (found is not None) == raised
    assert found is None or (found.name == "rises_with_epsilon" and "accuracy rises from 0." in found.reason)


@pytest.mark.parametrize(
    ("zero", "images", "raised"), [(0, 1, False), (20, 2000, False), (21, 2000, True), (1, 99, True)]
)
def test_one_percent_of_images_may_have_a_zero_gradient(zero: int, images: int, raised: bool) -> None:
    found = alarms.zero_gradients(zero, images)
    assert (found is not None) == raised
    text = f"the input gradient of the model is zero for {zero} of {images} images, so "
    assert found is None or (found.name == "zero_gradients" and found.reason.startswith(text))


def test_zero_gradients_of_the_stand_in_have_their_own_alarm_name() -> None:
    found = alarms.zero_gradients(2, 9, "knn_masked", "of the stand-in")
    assert found is not None and found.name == "knn_masked"
    assert found.reason.startswith("the input gradient of the stand-in is zero for 2 of 9 images")


def test_two_percent_of_images_may_survive_the_strongest_attack() -> None:
    assert alarms.some_left(right(2), 16) is None
    found = alarms.some_left(right(3), 16)
    assert (
        found is not None and found.name == "pgd_leaves_some" and "0.030" in found.reason and "16/255" in found.reason
    )


@pytest.mark.parametrize(
    ("differ", "images", "raised"), [(0, 10, False), (1, 10, True), (1, 999, True), (1, 1000, False), (3, 2000, True)]
)
def test_one_prediction_in_a_thousand_may_differ_at_epsilon_0(differ: int, images: int, raised: bool) -> None:
    found = alarms.not_clean_at_zero(differ, images)
    assert (found is not None) == raised
    text = f"{differ} of {images} predictions at epsilon 0 differ from those of the stage evaluate."
    assert found is None or (found.name == "not_clean_at_zero" and found.reason.startswith(text))


def test_stronger_names_the_epsilon_with_the_largest_gain() -> None:
    strong = {0: right(0), 1: right(80), 2: right(60), 4: right(40), 8: right(40)}
    weak = {1: right(78), 2: right(50), 4: right(5), 8: right(10)}
    found = alarms.stronger("noise_stronger", "noise", "the gradient", weak, strong)
    reason = (
        "accuracy at epsilon 4/255 is 0.050 under noise but 0.400 under the gradient (100 images), so the second value "
        "overstates robustness"
    )
    assert found == Alarm("noise_stronger", reason)
    assert alarms.stronger("noise_stronger", "noise", "the gradient", weak, strong, margin=0.5) is None


def test_fewer_needs_no_test() -> None:
    """Three images of 90 are within chance, but what a search finds beyond another one is no chance."""
    assert not alarms.clearly_fewer(right(87), right(90)) and alarms.fewer(right(87), right(90), 0.01)
    assert not alarms.fewer(right(86), right(90), 0.04) and not alarms.fewer(right(90), right(88))
    assert alarms.fewer(right(89), right(90))  # without a margin, one image counts


def test_two_images_are_within_every_margin() -> None:
    """A recipe may attack so few images that one of them is more than the margin."""
    few = np.ones(50, dtype=bool)
    for wrong, raised in ((1, False), (2, False), (3, True)):
        fewer = few.copy()
        fewer[:wrong] = False
        assert alarms.fewer(fewer, few, 0.01) == raised


def test_disagree_counts_both_sides() -> None:
    one, other = right(50), np.arange(100) >= 44  # 94 images are correct in one of the two only
    assert alarms.disagree(one, other, 0.93) and not alarms.disagree(one, other, 0.94)
    found = alarms.stronger("starts_disagree", "one start", "another", {2: one}, {2: other}, 0.05, "disagree")
    assert found is not None and "and the two disagree on 94 images" in found.reason
    assert alarms.stronger("starts_disagree", "one start", "another", {2: one}, {2: one}, 0.05, "disagree") is None


def test_every_rule_of_the_catalogue_has_its_function() -> None:
    assert tuple(alarms.JUDGED_BY) == RULES


def test_logits_that_change_raise_an_alarm() -> None:
    assert alarms.random_logits(0, 500) is None
    found = alarms.random_logits(1, 500)
    assert found is not None and found.reason.startswith("the logits of 1 of 500 images changed when")


def test_alarm_where_transferred_images_fool_a_model_more_than_its_own() -> None:
    found = stronger_than_own(
        {("a", "a"): right(50), ("b", "b"): right(40), ("a", "b"): right(60), ("b", "a"): right(30)}, 8
    )
    (alarm,) = found
    assert alarm.name == "transfer_stronger"
    assert alarm.reason.startswith(
        "accuracy at epsilon 8/255 is 0.300 under FGSM on a with the gradient of b but 0.500 under FGSM with"
    )


def test_every_alarm_name_can_be_accepted_in_params() -> None:
    with pytest.raises(StudyError, match="unheard_of is not the name of an alarm"):
        Alarm("unheard_of", "for no reason")


RISING = "the values must rise and be among [1, 2, 4, 8, 16]"

# --- accepting alarms -------------------------------------------------------------------------------------

TWO = [Alarm("zero_gradients", "of some"), Alarm("rescaled_logits", "by 0.1"), Alarm("rescaled_logits", "by 10")]


@pytest.mark.parametrize(
    ("accept", "named", "unnamed"),
    [
        ([], ["zero_gradients", "rescaled_logits"], []),
        (["zero_gradients"], ["rescaled_logits"], ["zero_gradients"]),
        (["pgd_weaker"], ["zero_gradients", "rescaled_logits"], ["pgd_weaker"]),
    ],
)
def test_alarms_that_are_not_accepted_end_the_stage(accept: list[str], named: list[str], unnamed: list[str]) -> None:
    with pytest.raises(StudyError) as caught:
        alarms.accepted(TWO, accept)
    text = str(caught.value)
    assert "\n" not in text and text.startswith("attack: ") and text.endswith(f"attack.accept: [{', '.join(named)}]")
    assert all(f"{alarm.name}: {alarm.reason}" in text for alarm in TWO if alarm.name in named)
    assert not any(name in text for name in unnamed)


def test_accepted_alarms_keep_all_their_reasons() -> None:
    taken = alarms.accepted(TWO, ["rescaled_logits", "zero_gradients", "pgd_weaker"])
    assert taken == TWO
    assert alarms.by_name(taken) == {"zero_gradients": "of some", "rescaled_logits": "by 0.1; by 10"}
    assert alarms.accepted([], []) == [] and alarms.by_name([]) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"accept": ["zero_gradient"]},
            "attack.accept has 'zero_gradient', which is not an alarm; use",
        ),
        ({"accept": ["pgd_weaker", ""]}, "attack.accept has '', which is not an alarm"),
        *(
            ({"pgd": {"epsilons_255": wrong}}, f"attack.attacks.pgd.epsilons_255 is {wrong}: {RISING}")
            for wrong in ([4, 5], [0, 4], [4, 2], [4, 4])
        ),
        (
            {"square": {"epsilon_255": 8}},
            "attack.attacks.square.epsilon_255 is 8: it must be one of apgd's epsilons_255 ([2, 4])",
        ),
        (
            {"apgd": {"epsilons_255": [4]}},
            "attack.attacks.apgd.epsilons_255 is [4]: add 2; reports/metrics.json reports",
        ),
        ({"apgd": {"epsilons_255": [2, 5]}}, f"attack.attacks.apgd.epsilons_255 is [2, 5]: {RISING}"),
        (
            {"apgd": {"control_epsilon_255": 8}},
            "attack.attacks.apgd.control_epsilon_255 is 8: it must be one of apgd's epsilons_255 ([2, 4])",
        ),
        ({"pgd": {"restarts": 0}}, "attack.attacks.pgd.restarts is 0: input should be greater than or equal to 1"),
        ({"pgd": {"steps": "20"}}, "attack.attacks.pgd.steps is '20': input should be a valid integer"),
        ({"pgd": {"step": 3}}, "attack.attacks.pgd.step is unknown"),
        ({"square": {"queries": 0}}, "attack.attacks.square.queries is 0"),
        ({"nearest_neighbours": {"temperature": 0}}, "attack.attacks.nearest_neighbours.temperature is 0"),
        (
            {"nearest_neighbours": {"control_epsilons_255": [2, 3]}},
            f"attack.attacks.nearest_neighbours.control_epsilons_255 is [2, 3]: {RISING}",
        ),
        *(
            (
                {"rescaled_logits": {"factors": wrong}},
                f"attack.attacks.rescaled_logits.factors is {wrong}: factors must be",
            )
            for wrong in ([0.1, 0.1], [1], [1.0, 10.0], [0.0], [-1.0])
        ),
        ({"rescaled_logits": {"factors": []}}, "attack.attacks.rescaled_logits.factors is []: list should have"),
        ({"random_signs": {"images": 3}}, "attack.attacks.random_signs.images is unknown"),
        (
            {"attacks": {"fab": {}}},
            f"attack.attacks.fab is unknown; use one of {', '.join(entry.name for entry in ATTACKS)}",
        ),
        ({"attacks": {"random_signs": None}}, "attack.attacks.random_signs is None: input should be a valid dict"),
        ({"attacks": None}, "attack.attacks is None: input should be a valid dictionary"),
        ({"attacks": ["pgd"]}, "attack.attacks is ['pgd']: input should be a valid dictionary"),
        (
            {"attacks": {"square": SECTION["attacks"]["square"] | {"epsilon_255": 3}}},
            "attack.attacks.square.epsilon_255 is 3: it must be one of attack.epsilons_255 ([1, 2, 4, 8, 16])",
        ),
        (
            {"example_epsilon_255": 3},
            "attack.example_epsilon_255 is 3: it must be one of attack.epsilons_255, [0, 1",
        ),
    ],
)
def test_contradictory_params_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError, match=re.escape(message)) as caught:
        catalogue.settings_of(params.validated("attack", changed(SECTION, **change), Attack))
    assert str(caught.value).startswith("params.yaml: attack") and "\n" not in str(caught.value)


def test_every_alarm_can_be_accepted() -> None:
    assert Attack.model_validate(changed(SECTION, accept=list(ALARMS))).accept == list(ALARMS)
