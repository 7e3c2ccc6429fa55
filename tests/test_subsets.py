"""Stratified subsets: the declared number, classes in proportion, a draw that depends only on seed and names."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from robustness_study.core.subsets import stratified

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
