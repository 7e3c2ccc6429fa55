"""Stratified subsets: the declared number, classes in proportion, a draw that depends only on seed and names."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from robustness_study.core import params
from robustness_study.core.cell import Cell
from robustness_study.core.subsets import count_of, stratified
from robustness_study.evaluation.score import sets_of
from robustness_study.schema.attack import Attack

TOP = Path(__file__).parents[1]

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), 40))


def by_sainte_lague(sizes: list[int], count: int) -> list[int]:
    """Seats are given one by one, each to the class with the largest size / (2 × its seats so far + 1)."""
    counts = [0] * len(sizes)
    for _ in range(count):
        quotients = [Fraction(size, 2 * seats + 1) for size, seats in zip(sizes, counts, strict=True)]
        counts[quotients.index(max(quotients))] += 1
    return counts


@pytest.mark.parametrize(
    ("sizes", "count", "counts"),
    [
        ([40] * 5, 100, [20] * 5),
        ([30, 50, 20], 7, [2, 4, 1]),  # 2.1, 3.5, 1.4
        ([10, 20, 70], 9, [1, 2, 6]),  # 0.9, 1.8, 6.3
        ([5, 5, 990], 10, [0, 0, 10]),  # 0.05, 0.05, 9.9
    ],
)
def test_classes_are_in_proportion_by_sainte_lague(sizes: list[int], count: int, counts: list[int]) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(sizes)), sizes))
    chosen = stratified(labels, count, 0)
    assert np.bincount(labels[chosen], minlength=len(sizes)).tolist() == counts == by_sainte_lague(sizes, count)


@pytest.mark.parametrize(
    ("sizes", "count", "whole"),
    [([50] * 4, 10, [2, 2, 2, 2]), ([50] * 4, 1, [0, 0, 0, 0]), ([6, 2], 2, [1, 0]), ([2, 6], 2, [0, 1])],
)
def test_equal_turns_are_drawn_by_lot(sizes: list[int], count: int, whole: list[int]) -> None:
    """No class is favoured, such as the first ones, and rounding does not decide a tie."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    above = np.array([np.bincount(labels[stratified(labels, count, seed)], minlength=len(sizes)) for seed in range(60)])
    above -= whole
    assert set(above.flat) == {0, 1} and (above.sum(1) == count - sum(whole)).all()
    expected = (count - sum(whole)) / len(sizes)
    assert (np.abs(above.mean(0) - expected) < 4 * np.sqrt(expected * (1 - expected) / 60)).all()


@pytest.mark.parametrize("count", range(1, 30))
def test_every_count_is_met(count: int) -> None:
    sizes = [4, 11, 18]  # no two turns are equal
    labels = np.repeat([2, 5, 9], sizes)  # labels need not start at 0 or be consecutive
    chosen = stratified(labels, count, 4, "name")
    assert [int((labels[chosen] == label).sum()) for label in (2, 5, 9)] == by_sainte_lague(sizes, count)


@pytest.mark.parametrize("sizes", [[40] * 5, [3, 11, 17], [5, 5, 990]])
def test_smaller_subsets_are_part_of_larger_ones(sizes: list[int]) -> None:
    labels = np.random.default_rng(2).permutation(np.repeat(np.arange(len(sizes)), sizes))
    nested = [set(stratified(labels, count, 3, "name").tolist()) for count in range(1, len(labels) + 1)]
    assert [len(chosen) for chosen in nested] == list(range(1, len(labels) + 1))
    assert all(smaller < larger for smaller, larger in pairwise(nested))


def test_positions_are_sorted_and_unique() -> None:
    chosen = stratified(LABELS, 77, 0, "watched", "val").tolist()
    assert chosen == sorted(set(chosen)) and len(chosen) == 77 and 0 <= chosen[0] <= chosen[-1] < 200


@pytest.mark.parametrize("count", [200, 201, 10**6])
def test_all_are_taken_if_there_are_no_more(count: int) -> None:
    assert stratified(LABELS, count, 0).tolist() == list(range(200))


def test_draw_depends_only_on_seed_and_names() -> None:
    first = stratified(LABELS, 50, 0, "watched", "train").tolist()
    np.random.default_rng(9).random(100)
    assert stratified(LABELS.astype(np.uint8), 50, 0, "watched", "train").tolist() == first
    others = [stratified(LABELS, 50, 1, "watched", "train"), stratified(LABELS, 50, 0, "watched", "val")]
    others += [stratified(LABELS, 50, 0, "watched"), stratified(LABELS, 50, 0, "watchedtrain")]
    assert len({tuple(chosen) for chosen in (first, *(other.tolist() for other in others))}) == 5


def test_every_image_can_be_chosen() -> None:
    drawn = np.bincount(np.concatenate([stratified(LABELS, 100, seed) for seed in range(100)]), minlength=200)
    assert drawn.min() > 25 and drawn.max() < 75  # each image 50 times in 100 by chance


# --- the share of a recipe ---------------------------------------------------------------------------------


def test_a_share_is_at_least_one_image() -> None:
    assert [count_of(share, 1000) for share in (1.0, 0.25, 0.0016, 0.0004, 5e-324)] == [1000, 250, 2, 1, 1]


def test_attacks_take_the_same_share_of_their_images() -> None:
    whole = params.validated("attack", params.read(TOP / "params.yaml")["attack"], Attack)
    found = whole.with_share(0.25)
    assert (found.images, found.control_images) == (whole.images / 4, whole.control_images / 4)
    changed = set()
    for name, block in found.attacks.items():
        assert block | {"images": None} == whole.attacks[name] | {"images": None}
        if "images" in block:
            assert block["images"] == whole.attacks[name]["images"] / 4
            changed.add(name)
    assert changed == {"pgd", "apgd", "square"}
    assert found.model_copy(update=whole.model_dump()) == whole == whole.with_share(1.0)


def test_a_share_of_the_validation_images_keeps_labels_and_classes() -> None:
    """Every image here shows its own position, and labels are positions modulo four."""
    places = np.arange(80, dtype=np.uint8)
    images = np.broadcast_to(places[:, None, None, None], (80, 2, 2, 3))
    raw = {"train": images, "test": images}
    indices = {"train": np.arange(40), "val": np.arange(40, 80), "test": np.arange(80)}
    labels = {"train": places % 4, "test": places % 4}
    cell = Cell("cross_entropy", "clean", 3)
    whole, some = (sets_of(cell, images, raw, raw, labels, indices, share) for share in (1.0, 0.5))
    for name, (found, of_found) in some.items():
        assert (found[:, 0, 0, 0] % 4 == of_found).all(), name
        if not name.startswith("val"):
            np.testing.assert_array_equal(found, whole[name][0])
    chosen = some["val_clean"][0][:, 0, 0, 0]
    assert set(chosen) < set(range(40, 80)) and np.bincount(some["val_clean"][1]).tolist() == [5] * 4
    np.testing.assert_array_equal(some["val_corrupted"][0], some["val_clean"][0])
    other = sets_of(Cell("angular", "corrupted", 3), images, raw, raw, labels, indices, 0.5)
    np.testing.assert_array_equal(other["val_clean"][0], some["val_clean"][0])  # the same for all models of a seed
    assert len(whole["val_clean"][0]) == 40
